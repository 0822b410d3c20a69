/*
 * Sends frames from a packet socket, one for each line of standard input: send-frames INTERFACE. A line is hexadecimal text: ten
 * bytes of struct virtio_net_hdr, which says whether the frame is a GSO super-packet, and the Ethernet frame. Source: packet(7).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static int nibble(int character) {
  return character <= '9' ? character - '0' : (character | 0x20) - 'a' + 10;
}

int main(int count, char **arguments) {
  static char line[2 * 70000];
  static uint8_t frame[70000];
  if (count != 2) return 2;
  int fd = socket(AF_PACKET, SOCK_RAW, 0), one = 1, sent = 0;
  struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(arguments[1])};
  if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof one) < 0) return 3;
  while (fgets(line, sizeof line, stdin) != NULL) {
    size_t length = strcspn(line, "\n") / 2;
    for (size_t i = 0; i < length; i++)
      frame[i] = (uint8_t)(nibble(line[2 * i]) << 4 | nibble(line[2 * i + 1]));
    memcpy(&to.sll_protocol, frame + 10 + 12, 2);
    if (sendto(fd, frame, length, 0, (struct sockaddr *)&to, sizeof to) == (ssize_t)length) sent++;
    else printf("%zu bytes: %s\n", length, strerrorname_np(errno));
  }
  printf("sent %d\n", sent);
  return 0;
}
