/* Sends one frame by AF_XDP, in copy mode, from a socket that only sends: xdp INTERFACE QUEUE FRAME. Source: kernel, networking/af_xdp. */
#define _GNU_SOURCE
#include "bytes.h"
#include <linux/if_xdp.h>
#include <net/if.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int count, char **arguments) {
  if (count != 4) return 2;
  const int entries = 1;
  uint8_t *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  size_t length = parse_bytes(arguments[3], memory, 4096);
  int fd = socket(AF_XDP, SOCK_RAW, 0);
  struct xdp_umem_reg region = {.addr = (uintptr_t)memory, .len = 4096, .chunk_size = 4096};
  struct sockaddr_xdp address = {.sxdp_family = AF_XDP,
                                 .sxdp_flags = XDP_COPY,
                                 .sxdp_ifindex = if_nametoindex(arguments[1]),
                                 .sxdp_queue_id = (uint32_t)atoi(arguments[2])};
  struct xdp_mmap_offsets offsets;
  socklen_t size = sizeof offsets;
  if (!report("memory", setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &region, sizeof region))) return 0;
  setsockopt(fd, SOL_XDP, XDP_UMEM_FILL_RING, &entries, sizeof entries);
  setsockopt(fd, SOL_XDP, XDP_UMEM_COMPLETION_RING, &entries, sizeof entries);
  setsockopt(fd, SOL_XDP, XDP_TX_RING, &entries, sizeof entries);
  if (!report("bind", bind(fd, (struct sockaddr *)&address, sizeof address))) return 0;
  getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &size);
  uint8_t *ring = mmap(NULL, offsets.tx.desc + sizeof(struct xdp_desc), PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_POPULATE, fd, XDP_PGOFF_TX_RING);
  if (ring == MAP_FAILED) return 2;
  *(struct xdp_desc *)(ring + offsets.tx.desc) = (struct xdp_desc){.addr = 0, .len = (uint32_t)length};
  __atomic_store_n((uint32_t *)(ring + offsets.tx.producer), 1, __ATOMIC_RELEASE);
  report("send", sendto(fd, NULL, 0, MSG_DONTWAIT, NULL, 0));
  usleep(100000);
  return 0;
}
