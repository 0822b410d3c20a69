/*
 * The benchmark's load generator: TCP clients and servers inside network namespaces, so that no runtime's cost is measured.
 *
 *   load server FIRST_PORT PORTS NETNS…                  echoes; on SIGTERM prints what it accepted and read
 *   load client NETNS CONCURRENCY COUNT SECONDS TIMEOUT_MS FIRST_PORT PORTS ADDRESS…
 *                                                        connect, one byte to the server and back, close; prints one JSON object
 *   load hold NETNS SECONDS PORT ADDRESS                 one connection, a byte there and back every 10 ms
 *
 * A client ends after COUNT connections or SECONDS, whichever comes first. A connection has failed when its byte isn't back
 * TIMEOUT_MS after connect() was called. Addresses and ports are taken in turn. IPv4 only.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 256
#define SWEEP_NS 20000000ull
#define LISTENER (1ull << 32)

static void die(const char *what) {
  perror(what);
  exit(1);
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void enter(const char *netns) {
  int fd = open(netns, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, CLONE_NEWNET) != 0) die(netns);
  close(fd);
}

static struct sockaddr_in address_of(const char *text, int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (inet_pton(AF_INET, text, &address.sin_addr) != 1) {
    fprintf(stderr, "%s is no IPv4 address\n", text);
    exit(2);
  }
  return address;
}

static int watch(int epoll, int fd, uint32_t events, uint64_t data) {
  struct epoll_event event = {.events = events, .data.u64 = data};
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static void allow_descriptors(void) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) die("RLIMIT_NOFILE");
}

/* ---- server ---------------------------------------------------------------------------------------------------- */

static volatile sig_atomic_t is_over;

static void stop(int signal) {
  (void)signal;
  is_over = 1;
}

static void listen_on(int epoll, int port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1;
  struct sockaddr_in address = address_of("0.0.0.0", port);
  if (fd < 0) die("socket");
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0) die("bind");
  if (listen(fd, 4096) != 0) die("listen");
  if (watch(epoll, fd, EPOLLIN, LISTENER | (uint64_t)fd) != 0) die("epoll_ctl");
}

static uint64_t accept_all(int epoll, int listener) {
  uint64_t accepted = 0;
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return accepted;
    accepted++;
    if (watch(epoll, fd, EPOLLIN, (uint64_t)fd) != 0) close(fd);
  }
}

/* Bytes read and sent back; the connection is closed at its end. */
static uint64_t echo(int fd) {
  char bytes[4096];
  ssize_t length = read(fd, bytes, sizeof bytes);
  if (length > 0 && write(fd, bytes, (size_t)length) == length) return (uint64_t)length;
  if (length < 0 && errno == EAGAIN) return 0;
  close(fd);
  return length > 0 ? (uint64_t)length : 0;
}

static int server(int argc, char **argv) {
  int first = atoi(argv[2]), ports = atoi(argv[3]), epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event events[EVENTS];
  uint64_t accepted = 0, bytes = 0;
  for (int i = 4; i < argc; i++) {
    enter(argv[i]);
    for (int port = first; port < first + ports; port++) listen_on(epoll, port);
  }
  signal(SIGTERM, stop);
  signal(SIGPIPE, SIG_IGN);
  puts("listening");
  fflush(stdout);
  while (!is_over) {
    int count = epoll_wait(epoll, events, EVENTS, 1000);
    for (int i = 0; i < count; i++) {
      int fd = (int)(uint32_t)events[i].data.u64;
      if (events[i].data.u64 & LISTENER) accepted += accept_all(epoll, fd);
      else bytes += echo(fd);
    }
  }
  printf("{\"accepted\":%llu,\"bytes\":%llu}\n", (unsigned long long)accepted, (unsigned long long)bytes);
  return 0;
}

/* ---- client ---------------------------------------------------------------------------------------------------- */

struct connection {
  int fd; /* -1: free */
  uint64_t begun_ns;
  uint64_t connected_ns; /* 0: not yet */
};

struct client {
  int epoll;
  size_t concurrency, most, begun, done, active;
  uint64_t timeout_ns, end_ns;
  struct connection *connections;
  float *connect_us, *exchange_us; /* of those that succeeded */
  size_t timed_out, refused, broken;
  struct sockaddr_in *peers;
  size_t peer_count;
  int first_port, ports;
};

static int may_begin(const struct client *c, uint64_t now) {
  return c->begun < c->most && now < c->end_ns;
}

static void end(struct client *c, size_t slot, size_t *failure) {
  close(c->connections[slot].fd);
  c->connections[slot].fd = -1;
  c->active--;
  if (failure != NULL) (*failure)++;
}

static void begin(struct client *c, size_t slot, uint64_t now) {
  struct connection *connection = &c->connections[slot];
  int yes = 1;
  if (!may_begin(c, now)) return;
  struct sockaddr_in peer = c->peers[c->begun % c->peer_count];
  peer.sin_port = htons((uint16_t)(c->first_port + (int)(c->begun / c->peer_count % (size_t)c->ports)));
  c->begun++;
  connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (connection->fd < 0) die("socket");
  setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  connection->connected_ns = 0;
  c->active++;
  if (watch(c->epoll, connection->fd, EPOLLIN | EPOLLOUT | EPOLLET, slot) != 0) die("epoll_ctl");
  connection->begun_ns = now_ns();
  if (connect(connection->fd, (struct sockaddr *)&peer, sizeof peer) == 0 || errno == EINPROGRESS) return;
  end(c, slot, errno == ECONNREFUSED ? &c->refused : &c->broken);
}

/* The handshake is over: notes the time and sends the byte. 0 if there is no connection. */
static int take_connected(struct client *c, size_t slot) {
  struct connection *connection = &c->connections[slot];
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &length);
  if (error != 0) {
    end(c, slot, error == ECONNREFUSED ? &c->refused : &c->broken);
    return 0;
  }
  connection->connected_ns = now_ns();
  if (write(connection->fd, "x", 1) == 1) return 1;
  end(c, slot, &c->broken);
  return 0;
}

static float microseconds(uint64_t ns) {
  return (float)ns / 1e3f;
}

static void serve(struct client *c, size_t slot, uint32_t events) {
  struct connection *connection = &c->connections[slot];
  char byte;
  if (connection->fd < 0) return;
  if (connection->connected_ns == 0) {
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0) return;
    if (!take_connected(c, slot)) return;
  }
  ssize_t length = read(connection->fd, &byte, 1);
  if (length < 0 && errno == EAGAIN) return;
  if (length != 1) {
    end(c, slot, &c->broken);
    return;
  }
  c->connect_us[c->done] = microseconds(connection->connected_ns - connection->begun_ns);
  c->exchange_us[c->done] = microseconds(now_ns() - connection->begun_ns);
  c->done++;
  end(c, slot, NULL);
}

static void sweep(struct client *c, uint64_t now) {
  for (size_t slot = 0; slot < c->concurrency; slot++) {
    struct connection *connection = &c->connections[slot];
    if (connection->fd >= 0 && now - connection->begun_ns > c->timeout_ns) end(c, slot, &c->timed_out);
    if (connection->fd < 0) begin(c, slot, now);
  }
}

static void drive(struct client *c) {
  struct epoll_event events[EVENTS];
  uint64_t swept = 0;
  do {
    uint64_t now = now_ns();
    if (now - swept > SWEEP_NS) {
      sweep(c, now);
      swept = now;
    }
    int count = epoll_wait(c->epoll, events, EVENTS, 20);
    for (int i = 0; i < count; i++) {
      size_t slot = (size_t)events[i].data.u64;
      serve(c, slot, events[i].events);
      if (c->connections[slot].fd < 0) begin(c, slot, now_ns());
    }
  } while (c->active > 0 || may_begin(c, now_ns()));
}

static int by_value(const void *a, const void *b) {
  float left = *(const float *)a, right = *(const float *)b;
  return (left > right) - (left < right);
}

static void print_times(const char *name, float *us, size_t count) {
  qsort(us, count, sizeof *us, by_value);
  double p50 = count == 0 ? 0 : us[count / 2], p99 = count == 0 ? 0 : us[count * 99 / 100];
  printf(",\"%s\":{\"p50\":%.2f,\"p99\":%.2f}", name, p50, p99);
}

static int client(int argc, char **argv) {
  struct client c = {.concurrency = (size_t)atoi(argv[3]), .most = (size_t)atoll(argv[4]), .first_port = atoi(argv[7]),
                     .ports = atoi(argv[8]), .peer_count = (size_t)(argc - 9)};
  c.epoll = epoll_create1(EPOLL_CLOEXEC);
  c.timeout_ns = (uint64_t)atoll(argv[6]) * 1000000ull;
  c.connections = calloc(c.concurrency, sizeof *c.connections);
  c.connect_us = malloc((c.most + 1) * sizeof *c.connect_us);
  c.exchange_us = malloc((c.most + 1) * sizeof *c.exchange_us);
  c.peers = calloc(c.peer_count, sizeof *c.peers);
  if (!c.connections || !c.connect_us || !c.exchange_us || !c.peers) die("malloc");
  for (size_t i = 0; i < c.concurrency; i++) c.connections[i].fd = -1;
  for (size_t i = 0; i < c.peer_count; i++) c.peers[i] = address_of(argv[9 + i], 0);
  enter(argv[2]);
  uint64_t begun = now_ns();
  c.end_ns = begun + (uint64_t)(atof(argv[5]) * 1e9);
  drive(&c);
  double seconds = (double)(now_ns() - begun) / 1e9;
  printf("{\"begun\":%zu,\"done\":%zu,\"timedOut\":%zu,\"refused\":%zu,\"broken\":%zu,\"seconds\":%.6f", c.begun, c.done,
         c.timed_out, c.refused, c.broken, seconds);
  print_times("connectUs", c.connect_us, c.done);
  print_times("exchangeUs", c.exchange_us, c.done);
  puts("}");
  return 0;
}

/* ---- one connection that stays --------------------------------------------------------------------------------- */

static int hold(char **argv) {
  struct sockaddr_in peer = address_of(argv[5], atoi(argv[4]));
  enter(argv[2]);
  uint64_t end_ns = now_ns() + (uint64_t)(atof(argv[3]) * 1e9), gap = 0;
  unsigned sent = 0, echoed = 0;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  signal(SIGPIPE, SIG_IGN);
  if (fd < 0 || connect(fd, (struct sockaddr *)&peer, sizeof peer) != 0) die("connect");
  puts("connected");
  fflush(stdout);
  while (now_ns() < end_ns) {
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    uint64_t begun = now_ns();
    char byte;
    if (write(fd, "x", 1) != 1) break;
    sent++;
    if (poll(&wait, 1, 5000) != 1 || read(fd, &byte, 1) != 1) break;
    echoed++;
    if (now_ns() - begun > gap) gap = now_ns() - begun;
    usleep(10000);
  }
  printf("{\"sent\":%u,\"echoed\":%u,\"longestMs\":%.3f}\n", sent, echoed, (double)gap / 1e6);
  return sent == echoed ? 0 : 1;
}

int main(int argc, char **argv) {
  allow_descriptors();
  if (argc >= 5 && strcmp(argv[1], "server") == 0) return server(argc, argv);
  if (argc >= 10 && strcmp(argv[1], "client") == 0) return client(argc, argv);
  if (argc == 6 && strcmp(argv[1], "hold") == 0) return hold(argv);
  fprintf(stderr, "usage: see the head of load.c\n");
  return 2;
}
