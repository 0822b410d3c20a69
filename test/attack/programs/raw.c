/* Sends one IP packet with a header of its own from a raw socket: raw INTERFACE MARK PACKET. Source: raw(7), ipv6(7). */
#define _GNU_SOURCE
#include "bytes.h"
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

int main(int count, char **arguments) {
  uint8_t packet[2048];
  if (count != 4) return 2;
  int mark = (int)strtoul(arguments[2], NULL, 0), one = 1;
  size_t length = parse_bytes(arguments[3], packet, sizeof packet);
  int is6 = packet[0] >> 4 == 6;
  int fd = socket(is6 ? AF_INET6 : AF_INET, SOCK_RAW, IPPROTO_RAW);
  struct sockaddr_in to4 = {.sin_family = AF_INET};
  struct sockaddr_in6 to6 = {.sin6_family = AF_INET6, .sin6_scope_id = if_nametoindex(arguments[1])};
  memcpy(&to4.sin_addr, packet + 16, 4);
  memcpy(&to6.sin6_addr, packet + 24, 16);
  if (is6 && !report("header", setsockopt(fd, IPPROTO_IPV6, IPV6_HDRINCL, &one, sizeof one))) return 0;
  if (mark != 0 && !report("mark", setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark))) return 0;
  report("send", is6 ? sendto(fd, packet, length, 0, (struct sockaddr *)&to6, sizeof to6)
                     : sendto(fd, packet, length, 0, (struct sockaddr *)&to4, sizeof to4));
  return 0;
}
