/* Sends to a multicast group that it is in itself, and prints the mark of the copy that comes back: read-mark OWN_ADDRESS. Source: socket(7), ip(7). */
#define _GNU_SOURCE
#include "bytes.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#ifndef SO_RCVMARK
#define SO_RCVMARK 75
#endif

int main(int count, char **arguments) {
  if (count != 2) return 2;
  int fd = socket(AF_INET, SOCK_DGRAM, 0), one = 1;
  struct timeval patience = {.tv_usec = 700000};
  struct sockaddr_in group = {.sin_family = AF_INET, .sin_port = htons(5007), .sin_addr.s_addr = inet_addr("239.1.2.3")};
  struct ip_mreq membership = {.imr_multiaddr = group.sin_addr, .imr_interface.s_addr = inet_addr(arguments[1])};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (!report("bind", bind(fd, (struct sockaddr *)&group, sizeof group))) return 0;
  if (!report("join", setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &membership, sizeof membership))) return 0;
  setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &membership.imr_interface, sizeof membership.imr_interface);
  if (!report("ask", setsockopt(fd, SOL_SOCKET, SO_RCVMARK, &one, sizeof one))) return 0;
  /* The looped copy of a first packet shares its unconfirmed conntrack entry and is lost. */
  for (int attempt = 0; attempt < 4; attempt++) {
    char data[16], control[64];
    struct iovec vector = {data, sizeof data};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    sendto(fd, "x", 1, 0, (struct sockaddr *)&group, sizeof group);
    if (recvmsg(fd, &message, 0) < 0) continue;
    uint32_t mark = 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part != NULL; part = CMSG_NXTHDR(&message, part))
      if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SO_MARK) memcpy(&mark, CMSG_DATA(part), sizeof mark);
    printf("received 0x%08x\n", mark);
    return 0;
  }
  printf("received nothing\n");
  return 0;
}
