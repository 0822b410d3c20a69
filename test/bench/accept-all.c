/*
 * What the benchmark compares with: a reader that accepts everything, in C. One process a node serves all its pods' namespaces;
 * one netlink socket a namespace for our rule set's seven queues, epoll, up to 64 packets a recvmmsg, one send for their verdicts.
 * Marks are set where ours are, so that as many segments cross a queue and the kernel alone carries what comes afterwards.
 *
 *   accept-all NETNS…
 *
 * Sources: linux/netfilter/nfnetlink_queue.h, netlink(7), ../../plugin/rule-set.ts.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define QUEUES 7
#define BATCH 64
#define SLOT (2048)
#define MARK_MASK 0xfff00000u
#define JUDGED 0x10000000u
#define AUTHORISING 0x5ff00000u

enum { INBOUND_SYN, INBOUND_SYN_ACK, INBOUND_TCP };

static void die(const char *what) {
  perror(what);
  exit(1);
}

/* ---- writing messages ------------------------------------------------------------------------------------------ */

static uint8_t out[BATCH * 64];
static size_t used;

static struct nlmsghdr *begin(int type, uint16_t queue) {
  struct nlmsghdr *header = (struct nlmsghdr *)(out + used);
  struct nfgenmsg *generic = NLMSG_DATA(header);
  *header = (struct nlmsghdr){.nlmsg_type = (uint16_t)(NFNL_SUBSYS_QUEUE << 8 | type), .nlmsg_flags = NLM_F_REQUEST};
  *generic = (struct nfgenmsg){.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0, .res_id = htons(queue)};
  used += NLMSG_SPACE(sizeof *generic);
  return header;
}

static void attribute(int type, const void *data, size_t length) {
  struct nlattr *attribute = (struct nlattr *)(out + used);
  *attribute = (struct nlattr){.nla_type = (uint16_t)type, .nla_len = (uint16_t)(NLA_HDRLEN + length)};
  memcpy(out + used + NLA_HDRLEN, data, length);
  used += NLA_ALIGN(attribute->nla_len);
}

static void finish(struct nlmsghdr *header) {
  header->nlmsg_len = (uint32_t)(out + used - (uint8_t *)header);
}

static void flush(int fd) {
  if (used > 0 && send(fd, out, used, 0) < 0) perror("send");
  used = 0;
}

/* ---- queues ---------------------------------------------------------------------------------------------------- */

static void bind_queue(int fd, uint16_t queue) {
  struct nfqnl_msg_config_cmd command = {.command = NFQNL_CFG_CMD_BIND};
  struct nfqnl_msg_config_params params = {.copy_range = htonl(0xffff), .copy_mode = NFQNL_COPY_PACKET};
  uint32_t length = htonl(1024);
  struct nlmsghdr *header = begin(NFQNL_MSG_CONFIG, queue);
  attribute(NFQA_CFG_CMD, &command, sizeof command);
  attribute(NFQA_CFG_QUEUE_MAXLEN, &length, sizeof length);
  attribute(NFQA_CFG_PARAMS, &params, sizeof params);
  finish(header);
  flush(fd);
}

static int open_queues(const char *netns) {
  int home = open(netns, O_RDONLY | O_CLOEXEC), yes = 1, room = 4 << 20;
  if (home < 0 || setns(home, CLONE_NEWNET) != 0) die(netns);
  close(home);
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
  if (fd < 0) die("socket");
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
  setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &yes, sizeof yes);
  for (uint16_t queue = 0; queue < QUEUES; queue++) bind_queue(fd, queue);
  return fd;
}

static uint32_t mark_for(unsigned queue, uint32_t mark) {
  if (queue == INBOUND_SYN || queue == INBOUND_SYN_ACK) return (mark & ~MARK_MASK) | JUDGED;
  return (mark & ~MARK_MASK) | AUTHORISING;
}

static void judge(const uint8_t *message, size_t length) {
  const struct nlmsghdr *header = (const struct nlmsghdr *)message;
  if (length < NLMSG_SPACE(sizeof(struct nfgenmsg)) || (header->nlmsg_type & 0xff) != NFQNL_MSG_PACKET) return;
  unsigned queue = ntohs(((const struct nfgenmsg *)NLMSG_DATA(header))->res_id);
  uint32_t id = 0, mark = 0;
  size_t at = NLMSG_SPACE(sizeof(struct nfgenmsg));
  while (at + NLA_HDRLEN <= length) {
    const struct nlattr *one = (const struct nlattr *)(message + at);
    int type = one->nla_type & NLA_TYPE_MASK;
    if (one->nla_len < NLA_HDRLEN) break;
    if (type == NFQA_PACKET_HDR) id = ((const struct nfqnl_msg_packet_hdr *)(message + at + NLA_HDRLEN))->packet_id;
    if (type == NFQA_MARK) mark = ntohl(*(const uint32_t *)(message + at + NLA_HDRLEN));
    if (type == NFQA_PAYLOAD) break;
    at += NLA_ALIGN(one->nla_len);
  }
  struct nfqnl_msg_verdict_hdr verdict = {.verdict = htonl(queue == INBOUND_TCP ? NF_REPEAT : NF_ACCEPT), .id = id};
  struct nlmsghdr *answer = begin(NFQNL_MSG_VERDICT, (uint16_t)queue);
  attribute(NFQA_VERDICT_HDR, &verdict, sizeof verdict);
  if (queue <= INBOUND_TCP) {
    uint32_t marked = htonl(mark_for(queue, mark));
    attribute(NFQA_MARK, &marked, sizeof marked);
  }
  finish(answer);
}

/* Packets longer than a slot are cut; their heads say all that is needed. */
static void serve(int fd) {
  static uint8_t in[BATCH][SLOT];
  struct mmsghdr messages[BATCH];
  struct iovec vectors[BATCH];
  for (int i = 0; i < BATCH; i++) {
    vectors[i] = (struct iovec){.iov_base = in[i], .iov_len = SLOT};
    messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &vectors[i], .msg_iovlen = 1}};
  }
  int count = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
  for (int i = 0; i < count; i++) judge(in[i], messages[i].msg_len);
  flush(fd);
}

int main(int argc, char **argv) {
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event events[256];
  for (int i = 1; i < argc; i++) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = open_queues(argv[i])};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event) != 0) die("epoll_ctl");
  }
  puts("ready");
  fflush(stdout);
  for (;;) {
    int count = epoll_wait(epoll, events, 256, -1);
    if (count < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < count; i++) serve(events[i].data.fd);
  }
}
