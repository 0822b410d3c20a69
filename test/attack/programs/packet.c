/* Sends one frame from a packet socket: packet INTERFACE SLL_PROTOCOL MARK BYPASS FRAME. Source: packet(7). */
#define _GNU_SOURCE
#include "bytes.h"
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>

int main(int count, char **arguments) {
  uint8_t frame[2048];
  if (count != 6) return 2;
  int mark = (int)strtoul(arguments[3], NULL, 0), bypass = atoi(arguments[4]);
  size_t length = parse_bytes(arguments[5], frame, sizeof frame);
  int fd = socket(AF_PACKET, SOCK_RAW, 0);
  struct sockaddr_ll to = {.sll_family = AF_PACKET,
                           .sll_protocol = htons((uint16_t)strtoul(arguments[2], NULL, 0)),
                           .sll_ifindex = (int)if_nametoindex(arguments[1])};
  if (mark != 0 && !report("mark", setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark))) return 0;
  if (bypass && !report("bypass", setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &bypass, sizeof bypass))) return 0;
  report("send", sendto(fd, frame, length, 0, (struct sockaddr *)&to, sizeof to));
  return 0;
}
