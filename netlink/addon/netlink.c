/*
 * Sockets inside a network namespace, batches of messages, and one readiness poller, for Node-API; no protocol knowledge.
 * Sources: socket(7), netlink(7), raw(7), setns(2), recvmmsg(2), sendmmsg(2), epoll(7), Node-API and libuv documentation.
 *
 * Every function returns a number: a result, or a negative errno. Nothing here throws, except for wrong argument types.
 * State is per environment (main thread or worker); the only process-wide act is abort() when a thread can't return
 * to its own namespace.
 */
#define _GNU_SOURCE
#define NAPI_VERSION 8

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <linux/if_xdp.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <node_api.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <uv.h>

#define BATCH_MAX 64
#define READY_MAX 256
#define ROUNDS_MAX 8
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- arguments and results ------------------------------------------------------------------------------------- */

static napi_value number(napi_env env, int64_t value) {
  napi_value result = NULL;
  napi_create_int64(env, value, &result);
  return result;
}

static napi_value wrong_arguments(napi_env env) {
  napi_throw_type_error(env, NULL, "netlink addon: wrong arguments");
  return NULL;
}

/* Reads exactly `count` arguments. */
static int arguments(napi_env env, napi_callback_info info, size_t count, napi_value *values) {
  size_t given = count;
  return napi_get_cb_info(env, info, &given, values, NULL, NULL) == napi_ok && given >= count;
}

static int integers(napi_env env, const napi_value *values, size_t count, int32_t *into) {
  for (size_t i = 0; i < count; i++)
    if (napi_get_value_int32(env, values[i], &into[i]) != napi_ok) return 0;
  return 1;
}

struct view {
  uint8_t *data;
  size_t length; /* in elements */
};

static int typed_array(napi_env env, napi_value value, napi_typedarray_type wanted, struct view *into) {
  napi_typedarray_type type;
  void *data = NULL;
  bool is = false;
  if (napi_is_typedarray(env, value, &is) != napi_ok || !is) return 0;
  if (napi_get_typedarray_info(env, value, &type, &into->length, &data, NULL, NULL) != napi_ok) return 0;
  into->data = data;
  return type == wanted;
}

static int64_t or_errno(int64_t result) {
  return result < 0 ? -(int64_t)errno : result;
}

/* ---- descriptors: those that an environment opened and left open are closed when it ends ------------------------- */

struct owned {
  int *fds;
  size_t count, capacity;
};

static struct owned *owned_of(napi_env env) {
  void *owned = NULL;
  napi_get_instance_data(env, &owned);
  return owned;
}

/* Returns `result`, which is a new descriptor of this environment or a negative errno. */
static napi_value own(napi_env env, int result) {
  struct owned *owned = owned_of(env);
  if (result < 0) return number(env, result);
  if (owned->count == owned->capacity) {
    size_t capacity = owned->capacity ? owned->capacity * 2 : 64;
    int *fds = realloc(owned->fds, capacity * sizeof *fds);
    if (fds == NULL) {
      close(result);
      return number(env, -ENOMEM);
    }
    owned->fds = fds;
    owned->capacity = capacity;
  }
  owned->fds[owned->count++] = result;
  return number(env, result);
}

static void disown(napi_env env, int fd) {
  struct owned *owned = owned_of(env);
  for (size_t i = 0; i < owned->count; i++)
    if (owned->fds[i] == fd) {
      owned->fds[i] = owned->fds[--owned->count];
      return;
    }
}

static void close_owned(napi_env env, void *data, void *hint) {
  struct owned *owned = data;
  (void)env;
  (void)hint;
  for (size_t i = 0; i < owned->count; i++) close(owned->fds[i]);
  free(owned->fds);
  free(owned);
}

/* ---- network namespaces ---------------------------------------------------------------------------------------- */

/* Opened without waiting or side effects first (a path may name a FIFO or a device), then for good once it is known. */
static int open_netns(const char *path) {
  char self[32];
  struct statfs fs;
  int found = open(path, O_PATH | O_CLOEXEC);
  if (found < 0) return -errno;
  if (fstatfs(found, &fs) != 0 || fs.f_type != NSFS_MAGIC) {
    close(found);
    return -EINVAL;
  }
  snprintf(self, sizeof self, "/proc/self/fd/%d", found);
  int fd = open(self, O_RDONLY | O_CLOEXEC);
  int error = errno;
  close(found);
  if (fd < 0) return -error;
  if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET) {
    close(fd);
    return -EINVAL;
  }
  return fd;
}

/*
 * Takes the calling thread into `netns` (-1: nowhere) and returns the descriptor that leads home, -1 if it didn't move,
 * or a negative errno below that.
 */
static int enter_netns(int netns) {
  if (netns < 0) return -1;
  int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  if (home < 0) return -1 - errno;
  if (setns(netns, CLONE_NEWNET) == 0) return home;
  int error = errno;
  close(home);
  return -1 - error;
}

/* There is no going on in a wrong namespace. */
static void leave_netns(int home) {
  if (home < 0) return;
  if (setns(home, CLONE_NEWNET) != 0) abort();
  close(home);
}

static int socket_in(int netns, int domain, int type, int protocol) {
  int home = enter_netns(netns);
  if (home < -1) return home + 1;
  int fd = socket(domain, type | SOCK_CLOEXEC, protocol);
  int error = errno;
  leave_netns(home);
  return fd < 0 ? -error : fd;
}

/* Which namespace a file of /proc/thread-self/net or /proc/sys/net speaks of is decided when it is opened. */
static int open_in(int netns, const char *path, int flags) {
  int home = enter_netns(netns);
  if (home < -1) return home + 1;
  int fd = open(path, flags | O_CLOEXEC);
  int error = errno;
  leave_netns(home);
  return fd < 0 ? -error : fd;
}

/* Copies a path: 1, 0 if it is no string, or a negative errno. */
static int path_argument(napi_env env, napi_value value, char *path, size_t size) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, path, size, &length) != napi_ok) return 0;
  if (length >= size - 1) return -ENAMETOOLONG;
  return strlen(path) == length ? 1 : -EINVAL;
}

/* openFile(netns | -1, path, flags) → fd */
static napi_value open_file(napi_env env, napi_callback_info info) {
  napi_value values[3];
  int32_t netns, flags;
  char path[4096];
  if (!arguments(env, info, 3, values) || !integers(env, values, 1, &netns)) return wrong_arguments(env);
  int valid = path_argument(env, values[1], path, sizeof path);
  if (valid == 0 || !integers(env, values + 2, 1, &flags)) return wrong_arguments(env);
  return own(env, valid < 0 ? valid : open_in(netns, path, flags));
}

/* openNetns(path) → fd */
static napi_value open_netns_js(napi_env env, napi_callback_info info) {
  napi_value values[1];
  char path[4096];
  if (!arguments(env, info, 1, values)) return wrong_arguments(env);
  int valid = path_argument(env, values[0], path, sizeof path);
  if (valid == 0) return wrong_arguments(env);
  return own(env, valid < 0 ? valid : open_netns(path));
}

/* openSocket(netns | -1, domain, type, protocol) → fd */
static napi_value open_socket(napi_env env, napi_callback_info info) {
  napi_value values[4];
  int32_t n[4];
  if (!arguments(env, info, 4, values) || !integers(env, values, 4, n)) return wrong_arguments(env);
  return own(env, socket_in(n[0], n[1], n[2], n[3]));
}

/*
 * Readies an AF_XDP socket for sending in copy mode and binds it. The kernel pins the page of packet memory, so that it is
 * not needed here any more; nothing is ever put into the rings. Returns 0 or a negative errno.
 */
static int bind_xdp(int fd, uint32_t interface, uint32_t queue) {
  const uint32_t page = (uint32_t)sysconf(_SC_PAGESIZE);
  const int entries = 1;
  void *memory = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return -errno;
  struct xdp_umem_reg region = {.addr = (uintptr_t)memory, .len = page, .chunk_size = page};
  struct sockaddr_xdp address = {
      .sxdp_family = AF_XDP, .sxdp_flags = XDP_COPY, .sxdp_ifindex = interface, .sxdp_queue_id = queue};
  int result = 0;
  if (setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &region, sizeof region) != 0 ||
      setsockopt(fd, SOL_XDP, XDP_UMEM_FILL_RING, &entries, sizeof entries) != 0 ||
      setsockopt(fd, SOL_XDP, XDP_UMEM_COMPLETION_RING, &entries, sizeof entries) != 0 ||
      setsockopt(fd, SOL_XDP, XDP_TX_RING, &entries, sizeof entries) != 0 ||
      bind(fd, (struct sockaddr *)&address, sizeof address) != 0)
    result = -errno;
  munmap(memory, page);
  return result;
}

/* openXdp(netns | -1, interface index, queue) → fd of an AF_XDP socket that has this queue */
static napi_value open_xdp(napi_env env, napi_callback_info info) {
  napi_value values[3];
  int32_t n[3];
  if (!arguments(env, info, 3, values) || !integers(env, values, 3, n)) return wrong_arguments(env);
  int fd = socket_in(n[0], AF_XDP, SOCK_RAW, 0);
  if (fd < 0) return number(env, fd);
  int bound = bind_xdp(fd, (uint32_t)n[1], (uint32_t)n[2]);
  if (bound == 0) return own(env, fd);
  close(fd);
  return number(env, bound);
}

/* closeFd(fd): one that this environment opened */
static napi_value close_fd(napi_env env, napi_callback_info info) {
  napi_value values[1];
  int32_t fd;
  if (!arguments(env, info, 1, values) || !integers(env, values, 1, &fd)) return wrong_arguments(env);
  disown(env, fd);
  return number(env, or_errno(close(fd)));
}

/* lockFile(fd): flock(2), exclusively, without waiting; the kernel lets go with the last copy of the descriptor */
static napi_value lock_file(napi_env env, napi_callback_info info) {
  napi_value values[1];
  int32_t fd;
  if (!arguments(env, info, 1, values) || !integers(env, values, 1, &fd)) return wrong_arguments(env);
  return number(env, or_errno(flock(fd, LOCK_EX | LOCK_NB)));
}

/* setOption(fd, level, name, value) */
static napi_value set_option(napi_env env, napi_callback_info info) {
  napi_value values[4];
  int32_t n[4];
  if (!arguments(env, info, 4, values) || !integers(env, values, 4, n)) return wrong_arguments(env);
  return number(env, or_errno(setsockopt(n[0], n[1], n[2], &n[3], sizeof n[3])));
}

/* getOption(fd, level, name, into: Uint8Array) → bytes filled */
static napi_value get_option(napi_env env, napi_callback_info info) {
  napi_value values[4];
  int32_t n[3];
  struct view into;
  if (!arguments(env, info, 4, values) || !integers(env, values, 3, n)) return wrong_arguments(env);
  if (!typed_array(env, values[3], napi_uint8_array, &into)) return wrong_arguments(env);
  socklen_t length = (socklen_t)into.length;
  if (getsockopt(n[0], n[1], n[2], into.data, &length) != 0) return number(env, -errno);
  return number(env, length);
}

/* ---- messages -------------------------------------------------------------------------------------------------- */

/* Whether a datagram comes from the kernel, where its sender can be told (netlink: port 0). */
static int from_kernel(const struct msghdr *message) {
  const struct sockaddr_nl *sender = message->msg_name;
  if (message->msg_namelen < sizeof *sender || sender->nl_family != AF_NETLINK) return 1;
  return sender->nl_pid == 0;
}

/*
 * receive(fd, buffer: Uint8Array, slotBytes, lengths: Int32Array) → how many datagrams; never waits (-EAGAIN).
 * Datagram i begins at i * slotBytes and is lengths[i] long; it was cut short if lengths[i] is -(its own length);
 * 0: another process sent it, ignore it.
 */
static napi_value receive(napi_env env, napi_callback_info info) {
  napi_value values[4];
  int32_t fd, slot;
  struct view buffer, lengths;
  if (!arguments(env, info, 4, values) || !integers(env, values, 1, &fd)) return wrong_arguments(env);
  if (!typed_array(env, values[1], napi_uint8_array, &buffer)) return wrong_arguments(env);
  if (!integers(env, values + 2, 1, &slot) || slot <= 0) return wrong_arguments(env);
  if (!typed_array(env, values[3], napi_int32_array, &lengths)) return wrong_arguments(env);

  size_t count = lengths.length < BATCH_MAX ? lengths.length : BATCH_MAX;
  if (buffer.length / (size_t)slot < count) count = buffer.length / (size_t)slot;
  struct mmsghdr messages[BATCH_MAX];
  struct iovec vectors[BATCH_MAX];
  struct sockaddr_storage senders[BATCH_MAX];
  memset(messages, 0, count * sizeof messages[0]);
  for (size_t i = 0; i < count; i++) {
    vectors[i] = (struct iovec){.iov_base = buffer.data + i * (size_t)slot, .iov_len = (size_t)slot};
    messages[i].msg_hdr = (struct msghdr){
        .msg_name = &senders[i], .msg_namelen = sizeof senders[i], .msg_iov = &vectors[i], .msg_iovlen = 1};
  }
  int received;
  do received = recvmmsg(fd, messages, (unsigned)count, MSG_DONTWAIT | MSG_TRUNC, NULL);
  while (received < 0 && errno == EINTR);
  if (received < 0) return number(env, -errno);
  int32_t *into = (int32_t *)lengths.data;
  for (int i = 0; i < received; i++) {
    int32_t length = (int32_t)messages[i].msg_len;
    if (!from_kernel(&messages[i].msg_hdr)) length = 0;
    into[i] = messages[i].msg_hdr.msg_flags & MSG_TRUNC ? -length : length;
  }
  return number(env, received);
}

/* send(fd, buffer: Uint8Array, offset, length) → bytes sent, to the socket's default peer (netlink: the kernel) */
static napi_value send_js(napi_env env, napi_callback_info info) {
  napi_value values[4];
  int32_t fd, range[2];
  struct view buffer;
  if (!arguments(env, info, 4, values) || !integers(env, values, 1, &fd)) return wrong_arguments(env);
  if (!typed_array(env, values[1], napi_uint8_array, &buffer)) return wrong_arguments(env);
  if (!integers(env, values + 2, 2, range) || range[0] < 0 || range[1] < 0) return wrong_arguments(env);
  if ((size_t)range[0] + (size_t)range[1] > buffer.length) return number(env, -EINVAL);
  ssize_t sent;
  do sent = send(fd, buffer.data + range[0], (size_t)range[1], MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return number(env, or_errno(sent));
}

/* Fills an IPv4 or IPv6 socket address; 0 if the address has neither 4 nor 16 bytes. */
static socklen_t socket_address(const struct view *address, uint32_t scope, struct sockaddr_storage *into) {
  memset(into, 0, sizeof *into);
  if (address->length == 4) {
    struct sockaddr_in *in = (struct sockaddr_in *)into;
    in->sin_family = AF_INET;
    memcpy(&in->sin_addr, address->data, 4);
    return sizeof *in;
  }
  if (address->length != 16) return 0;
  struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)into;
  in6->sin6_family = AF_INET6;
  in6->sin6_scope_id = scope;
  memcpy(&in6->sin6_addr, address->data, 16);
  return sizeof *in6;
}

/*
 * sendBatch(fd, buffer: Uint8Array, ranges: Uint32Array of offset, length, …, address: Uint8Array(0 | 4 | 16), scope)
 * → how many datagrams went; never waits. Without an address they go to the socket's default peer.
 */
static napi_value send_batch(napi_env env, napi_callback_info info) {
  napi_value values[5];
  int32_t fd, scope;
  struct view buffer, ranges, address;
  if (!arguments(env, info, 5, values) || !integers(env, values, 1, &fd)) return wrong_arguments(env);
  if (!typed_array(env, values[1], napi_uint8_array, &buffer)) return wrong_arguments(env);
  if (!typed_array(env, values[2], napi_uint32_array, &ranges)) return wrong_arguments(env);
  if (!typed_array(env, values[3], napi_uint8_array, &address)) return wrong_arguments(env);
  if (!integers(env, values + 4, 1, &scope)) return wrong_arguments(env);

  struct sockaddr_storage peer;
  socklen_t peer_length = socket_address(&address, (uint32_t)scope, &peer);
  const uint32_t *range = (const uint32_t *)ranges.data;
  size_t count = ranges.length / 2 < BATCH_MAX ? ranges.length / 2 : BATCH_MAX;
  struct mmsghdr messages[BATCH_MAX];
  struct iovec vectors[BATCH_MAX];
  memset(messages, 0, count * sizeof messages[0]);
  for (size_t i = 0; i < count; i++) {
    if ((uint64_t)range[2 * i] + range[2 * i + 1] > buffer.length) return number(env, -EINVAL);
    vectors[i] = (struct iovec){.iov_base = buffer.data + range[2 * i], .iov_len = range[2 * i + 1]};
    messages[i].msg_hdr = (struct msghdr){.msg_name = peer_length ? &peer : NULL,
                                          .msg_namelen = peer_length,
                                          .msg_iov = &vectors[i],
                                          .msg_iovlen = 1};
  }
  int sent;
  do sent = sendmmsg(fd, messages, (unsigned)count, MSG_DONTWAIT | MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return number(env, or_errno(sent));
}

/* waitReadable(fd, timeoutMs) → 1 readable, 0 timed out or interrupted; blocks the thread */
static napi_value wait_readable(napi_env env, napi_callback_info info) {
  napi_value values[2];
  int32_t n[2];
  if (!arguments(env, info, 2, values) || !integers(env, values, 2, n)) return wrong_arguments(env);
  struct pollfd wanted = {.fd = n[0], .events = POLLIN};
  int ready = poll(&wanted, 1, n[1]);
  if (ready < 0 && errno == EINTR) return number(env, 0);
  return number(env, or_errno(ready));
}

/* ---- the poller: many descriptors, one epoll, one libuv handle, one call into JavaScript ------------------------- */

struct poller {
  uv_poll_t handle; /* first: the handle's address is the poller's */
  napi_env env;
  napi_ref on_ready;
  napi_ref ready_array; /* Uint32Array(READY_MAX), filled before each call */
  napi_async_context context;
  napi_async_cleanup_hook_handle cleanup;
  int epoll;
  int is_lingering;
  int rounds_of_loop; /* in which the event loop had something to do as well */
  int closing;
};

/* The event loop's own descriptor among those of a poller that lingers: no token, which has 32 bits. */
static const uint64_t the_loop = 1ull << 32;

static void poller_closed(uv_handle_t *handle) {
  struct poller *poller = (struct poller *)handle;
  close(poller->epoll);
  napi_remove_async_cleanup_hook(poller->cleanup);
  free(poller);
}

static void close_poller(struct poller *poller) {
  if (poller->closing) return;
  poller->closing = 1;
  napi_delete_reference(poller->env, poller->on_ready);
  napi_delete_reference(poller->env, poller->ready_array);
  napi_async_destroy(poller->env, poller->context);
  uv_poll_stop(&poller->handle);
  uv_close((uv_handle_t *)&poller->handle, poller_closed);
}

static void poller_cleanup(napi_async_cleanup_hook_handle hook, void *data) {
  (void)hook;
  close_poller(data);
}

/* Copies the tokens of what is ready; returns how many. The event loop counts apart. */
static int collect_ready(struct poller *poller, int timeout_ms, napi_value array, int *is_loop_ready) {
  struct epoll_event events[READY_MAX];
  struct view tokens;
  if (!typed_array(poller->env, array, napi_uint32_array, &tokens) || tokens.length < READY_MAX) return 0;
  int found = 0, count = epoll_wait(poller->epoll, events, READY_MAX, timeout_ms);
  *is_loop_ready = 0;
  for (int i = 0; i < count; i++) {
    if (events[i].data.u64 == the_loop) *is_loop_ready = 1;
    else ((uint32_t *)tokens.data)[found++] = events[i].data.u32;
  }
  return found;
}

/* One call into JavaScript for all that is ready; 0 if nothing is, or if the poller was closed. */
static int serve_ready(struct poller *poller) {
  napi_env env = poller->env;
  napi_handle_scope scope;
  if (poller->closing || napi_open_handle_scope(env, &scope) != napi_ok) return 0;
  napi_value callback, array, global, count_value;
  napi_get_reference_value(env, poller->on_ready, &callback);
  napi_get_reference_value(env, poller->ready_array, &array);
  napi_get_global(env, &global);
  int is_loop_ready, count = collect_ready(poller, 0, array, &is_loop_ready);
  if (count > 0) {
    napi_create_int32(env, count, &count_value);
    napi_value call[] = {count_value};
    if (napi_make_callback(env, poller->context, global, callback, 1, call, NULL) == napi_pending_exception) {
      napi_value error;
      napi_get_and_clear_last_exception(env, &error);
      napi_fatal_exception(env, error);
    }
  }
  napi_close_handle_scope(env, scope);
  return count > 0;
}

static void stop_lingering(struct poller *poller);

/*
 * What a callback does (an accepted SYN, whose answer is queued at once) often makes something else ready: it is cheaper to look again
 * than to go back to the event loop and come here anew. Other handles of the loop get their turn after a few rounds.
 */
static void poller_ready(uv_poll_t *handle, int status, int events) {
  struct poller *poller = (struct poller *)handle;
  (void)status;
  (void)events;
  for (int round = 0; round < ROUNDS_MAX && serve_ready(poller); round++);
  stop_lingering(poller);
}

/*
 * Between these two, the next descriptors are waited for here instead of in the event loop, until that has something to do itself. Two
 * things are saved for each packet: the loop's own work, and the way by which a thread is woken. Whoever sends to a socket that an epoll
 * holds tells the scheduler that it is about to wait, and the reader may start at once where it ran; through an epoll in an epoll, as in
 * the loop, that hint is lost (fs/eventpoll.c, ep_poll_callback). An epoll can't hold one that holds it, so the two change places.
 */
static int start_lingering(struct poller *poller) {
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = the_loop};
  if (poller->closing) return 0;
  if (poller->is_lingering) return 1;
  uv_poll_stop(&poller->handle);
  poller->is_lingering = 1;
  poller->rounds_of_loop = 0;
  return epoll_ctl(poller->epoll, EPOLL_CTL_ADD, uv_backend_fd(poller->handle.loop), &event) == 0;
}

static void stop_lingering(struct poller *poller) {
  if (!poller->is_lingering || poller->closing) return;
  epoll_ctl(poller->epoll, EPOLL_CTL_DEL, uv_backend_fd(poller->handle.loop), NULL);
  uv_poll_start(&poller->handle, UV_READABLE, poller_ready);
  poller->is_lingering = 0;
}

/* Once the handle is initialised, a failure ends by way of close_poller, which frees everything. */
static int start_poller(napi_env env, struct poller *poller) {
  uv_loop_t *loop = NULL;
  poller->epoll = epoll_create1(EPOLL_CLOEXEC);
  if (poller->epoll < 0) return -errno;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) return -EINVAL;
  return uv_poll_init(loop, &poller->handle, poller->epoll);
}

/* createPoller(onReady: (count) => void, ready: Uint32Array(256)) → external, or a negative errno */
static napi_value create_poller(napi_env env, napi_callback_info info) {
  napi_value values[2], name, result;
  struct view ready;
  napi_valuetype type;
  if (!arguments(env, info, 2, values)) return wrong_arguments(env);
  if (napi_typeof(env, values[0], &type) != napi_ok || type != napi_function) return wrong_arguments(env);
  if (!typed_array(env, values[1], napi_uint32_array, &ready) || ready.length < READY_MAX) return wrong_arguments(env);

  struct poller *poller = calloc(1, sizeof *poller);
  if (poller == NULL) return number(env, -ENOMEM);
  poller->env = env;
  int failed = start_poller(env, poller);
  if (failed != 0) {
    if (poller->epoll >= 0) close(poller->epoll);
    free(poller);
    return number(env, failed);
  }
  napi_create_string_utf8(env, "netlink.Poller", NAPI_AUTO_LENGTH, &name);
  napi_async_init(env, NULL, name, &poller->context);
  napi_create_reference(env, values[0], 1, &poller->on_ready);
  napi_create_reference(env, values[1], 1, &poller->ready_array);
  napi_add_async_cleanup_hook(env, poller_cleanup, poller, &poller->cleanup);
  uv_poll_start(&poller->handle, UV_READABLE, poller_ready);
  napi_create_external(env, poller, NULL, NULL, &result);
  return result;
}

static struct poller *poller_argument(napi_env env, napi_value value) {
  napi_valuetype type;
  void *poller = NULL;
  if (napi_typeof(env, value, &type) != napi_ok || type != napi_external) return NULL;
  return napi_get_value_external(env, value, &poller) == napi_ok ? poller : NULL;
}

/* pollerAdd(poller, fd, token) */
static napi_value poller_add(napi_env env, napi_callback_info info) {
  napi_value values[3];
  int32_t fd;
  uint32_t token;
  if (!arguments(env, info, 3, values) || !integers(env, values + 1, 1, &fd)) return wrong_arguments(env);
  struct poller *poller = poller_argument(env, values[0]);
  if (poller == NULL || napi_get_value_uint32(env, values[2], &token) != napi_ok) return wrong_arguments(env);
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = token};
  return number(env, or_errno(epoll_ctl(poller->epoll, EPOLL_CTL_ADD, fd, &event)));
}

/* pollerRemove(poller, fd) */
static napi_value poller_remove(napi_env env, napi_callback_info info) {
  napi_value values[2];
  int32_t fd;
  if (!arguments(env, info, 2, values) || !integers(env, values + 1, 1, &fd)) return wrong_arguments(env);
  struct poller *poller = poller_argument(env, values[0]);
  if (poller == NULL) return wrong_arguments(env);
  return number(env, or_errno(epoll_ctl(poller->epoll, EPOLL_CTL_DEL, fd, NULL)));
}

/* pollerRef(poller, keepsLoopAlive: 0 | 1) */
static napi_value poller_ref(napi_env env, napi_callback_info info) {
  napi_value values[2];
  int32_t keep;
  if (!arguments(env, info, 2, values) || !integers(env, values + 1, 1, &keep)) return wrong_arguments(env);
  struct poller *poller = poller_argument(env, values[0]);
  if (poller == NULL) return wrong_arguments(env);
  if (keep) uv_ref((uv_handle_t *)&poller->handle);
  else uv_unref((uv_handle_t *)&poller->handle);
  return number(env, 0);
}

/*
 * pollerNext(poller, ready: Uint32Array(256)) → how many are ready: waits for some. 0: the event loop's turn. To be called from the poller's
 * own callback, until it gives 0.
 */
static napi_value poller_next(napi_env env, napi_callback_info info) {
  napi_value values[2];
  if (!arguments(env, info, 2, values)) return wrong_arguments(env);
  struct poller *poller = poller_argument(env, values[0]);
  if (poller == NULL) return wrong_arguments(env);
  int is_loop_ready = 0, count = 0;
  if (start_lingering(poller)) {
    uv_update_time(poller->handle.loop);
    int timeout_ms = uv_backend_timeout(poller->handle.loop);
    if (timeout_ms != 0) count = collect_ready(poller, timeout_ms, values[1], &is_loop_ready);
    poller->rounds_of_loop += is_loop_ready;
  }
  if (count <= 0 || poller->rounds_of_loop >= ROUNDS_MAX) {
    stop_lingering(poller);
    return number(env, 0);
  }
  return number(env, count);
}

/* pollerClose(poller): the poller must not be used again */
static napi_value poller_close(napi_env env, napi_callback_info info) {
  napi_value values[1];
  if (!arguments(env, info, 1, values)) return wrong_arguments(env);
  struct poller *poller = poller_argument(env, values[0]);
  if (poller == NULL) return wrong_arguments(env);
  close_poller(poller);
  return number(env, 0);
}

/* ---- memory ---------------------------------------------------------------------------------------------------- */

/* Of the program itself, which comes first: what is never written to is in its file, and comes back from there when it is needed. */
static int release_segments(struct dl_phdr_info *info, size_t size, void *data) {
  const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  (void)size;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
    if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W)) continue;
    uintptr_t start = (info->dlpi_addr + segment->p_vaddr + page - 1) & ~(page - 1);
    uintptr_t end = (info->dlpi_addr + segment->p_vaddr + segment->p_filesz) & ~(page - 1);
    if (start < end && madvise((void *)start, end - start, MADV_DONTNEED) != 0) *(int *)data = -errno;
  }
  return 1;
}

/* releaseUnusedMemory(): drops the pages of the program's file that are mapped, and freed heap memory; 0 or a negative errno */
static napi_value release_unused_memory(napi_env env, napi_callback_info info) {
  int result = 0;
  (void)info;
  malloc_trim(0);
  dl_iterate_phdr(release_segments, &result);
  return number(env, result);
}

/* ---- module ---------------------------------------------------------------------------------------------------- */

NAPI_MODULE_INIT() {
  const struct {
    const char *name;
    napi_callback call;
  } functions[] = {
      {"openNetns", open_netns_js},  {"openFile", open_file},         {"openSocket", open_socket},     {"closeFd", close_fd},
      {"openXdp", open_xdp},         {"lockFile", lock_file},
      {"setOption", set_option},     {"getOption", get_option},       {"receive", receive},
      {"send", send_js},             {"sendBatch", send_batch},       {"waitReadable", wait_readable},
      {"createPoller", create_poller}, {"pollerAdd", poller_add},     {"pollerRemove", poller_remove},
      {"pollerRef", poller_ref},     {"pollerNext", poller_next},     {"pollerClose", poller_close},  {"releaseUnusedMemory", release_unused_memory},
  };
  struct owned *owned = calloc(1, sizeof *owned);
  if (owned == NULL || napi_set_instance_data(env, owned, close_owned, NULL) != napi_ok) {
    free(owned);
    napi_throw_error(env, NULL, "netlink addon: out of memory");
    return NULL;
  }
  for (size_t i = 0; i < COUNT(functions); i++) {
    napi_value function;
    napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].call, NULL, &function);
    napi_set_named_property(env, exports, functions[i].name, function);
  }
  return exports;
}
