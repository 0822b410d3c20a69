/*
 * The first code of trireme-cni that runs: it hands the call to the enforcer, where the plugin is loaded and warm, and writes
 * what comes back. Where it can't, the same binary goes on as if this weren't here: starting a JavaScript runtime costs 40 ms, this 2.
 *
 * It is grafted into the binary's text (install/build/graft-launcher.ts), so it has no library, no relocation and no data but on its
 * stack. It decides nothing: the enforcer reads configuration and environment with the plugin's own code. Source of the messages:
 * enforcer/control/handover.ts.
 *
 *   not a verb that is handed over, or no standard input ──► return: the runtime starts, nothing was touched
 *   no enforcer, an untrusted socket, no greeting        ──► exec ourselves, with standard input as it was and the time spent
 *   "declined", a connection that breaks, no time left   ──► the same; all verbs may be repeated
 *   an answer                                            ──► its text and exit code
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>

/* Offset of the binary's own entry from `blob`, written by the build; the entry point follows at 16. */
__asm__(".section .start, \"ax\"\n"
        ".globl blob\n"
        "blob: .quad 0, 0\n"
        "  push %rdx\n" /* what the dynamic linker wants called at exit */
        "  mov %rsp, %rbx\n"
        "  lea 8(%rsp), %rdi\n"
        "  and $-16, %rsp\n"
        "  call launch\n"
        "  mov %rbx, %rsp\n"
        "  pop %rdx\n"
        "  lea blob(%rip), %rax\n"
        "  add (%rax), %rax\n"
        "  xor %ebp, %ebp\n"
        "  jmp *%rax\n"
        ".text\n");

struct verb {
  char name[8];
  /* How long an answer is waited for: the verb's deadline (plugin/deadline.ts), less what the runtime needs to report that none came. */
  int limit_ms;
};
static const struct verb verbs[] = {
    {"ADD", 9600}, {"DEL", 4600}, {"CHECK", 4600}, {"GC", 9600}, {"STATUS", 500}};

static const char default_socket[] = "/run/trireme/enforcer.sock";
/* Added to the control socket's path. */
static const char suffix[] = ".cni";
static const char greeting[8] = "trireme1";
/* Tells the runtime's part, and this file, that time went by before. */
static const char elapsed_name[] = "TRIREME_CNI_ELAPSED_MS=";

enum { GREETING_MS = 400, INPUT_MAX = 8 * 1024 * 1024, ANSWER_MAX = 16 * 1024 * 1024 };

/* Little-endian; behind it the CNI_* variables, each with its NUL, and standard input. */
struct request {
  uint32_t length; /* of what follows this field */
  uint32_t elapsed_ms;
  uint64_t own_device, own_inode;     /* our network namespace */
  uint64_t netns_device, netns_inode; /* what CNI_NETNS names here; 0: nothing */
  uint32_t environment_length;
  uint32_t reserved;
};

struct answer {
  uint32_t length; /* of what follows this field */
  uint8_t is_done; /* 0: declined */
  uint8_t exit_code;
  /* the text for standard output */
};
enum { ANSWER_HEADER = 6 };

struct launch {
  char **arguments;
  char **environment;
  const struct verb *verb;
  int64_t begun_ms;
  /* A request, the variables, and standard input as far as it was read. */
  char *message;
  size_t capacity;
  size_t input_offset;
  size_t length;
};

static long system_call6(long number, long a, long b, long c, long d, long e, long f) {
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

static long system_call(long number, long a, long b, long c) {
  return system_call6(number, a, b, c, 0, 0, 0);
}

static _Noreturn void leave(int code) {
  for (;;) system_call(SYS_exit_group, code, 0, 0);
}

/* The compiler calls these two by name. */
void *memcpy(void *restrict to, const void *restrict from, size_t length) {
  for (size_t i = 0; i < length; i++) ((char *)to)[i] = ((const char *)from)[i];
  return to;
}

void *memset(void *to, int value, size_t length) {
  for (size_t i = 0; i < length; i++) ((char *)to)[i] = (char)value;
  return to;
}

static size_t length_of(const char *text) {
  size_t length = 0;
  while (text[length] != 0) length++;
  return length;
}

static int begins_with(const char *text, const char *prefix, size_t length) {
  for (size_t i = 0; i < length; i++)
    if (text[i] != prefix[i]) return 0;
  return 1;
}

/* Monotonic. */
static int64_t now_ms(void) {
  struct timespec now;
  system_call(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now, 0);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The value of a variable, or a null pointer. `name` ends with "=". */
static char *variable(char **environment, const char *name) {
  size_t length = length_of(name);
  for (; *environment != NULL; environment++)
    if (begins_with(*environment, name, length)) return *environment + length;
  return NULL;
}

static const struct verb *verb_of(const char *command) {
  for (size_t i = 0; command != NULL && i < sizeof verbs / sizeof *verbs; i++)
    if (begins_with(command, verbs[i].name, length_of(verbs[i].name) + 1)) return &verbs[i];
  return NULL;
}

/* An address range of zeros, or a null pointer. */
static char *allocate(size_t length) {
  long address =
      system_call6(SYS_mmap, 0, (long)length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return address < 0 && address > -4096 ? NULL : (char *)address;
}

/* Whether the descriptor is ready, or broken, before `until_ms`. */
static int await(int fd, short events, int64_t until_ms) {
  for (;;) {
    int64_t left_ms = until_ms - now_ms();
    if (left_ms <= 0) return 0;
    struct pollfd one = {fd, events, 0};
    long ready = system_call(SYS_poll, (long)&one, 1, (long)left_ms);
    if (ready != -EINTR) return ready > 0;
  }
}

static int is_retry(long result) { return result == -EINTR || result == -EAGAIN; }

static int receive_all(int fd, char *into, size_t length, int64_t until_ms) {
  for (size_t done = 0; done < length;) {
    if (!await(fd, POLLIN, until_ms)) return 0;
    long count = system_call(SYS_read, fd, (long)(into + done), (long)(length - done));
    if (count <= 0 && !is_retry(count)) return 0;
    if (count > 0) done += (size_t)count;
  }
  return 1;
}

static int send_all(int fd, const char *from, size_t length, int64_t until_ms) {
  for (size_t done = 0; done < length;) {
    if (!await(fd, POLLOUT, until_ms)) return 0;
    long count = system_call6(SYS_sendto, fd, (long)(from + done), (long)(length - done), MSG_NOSIGNAL, 0, 0);
    if (count <= 0 && !is_retry(count)) return 0;
    if (count > 0) done += (size_t)count;
  }
  return 1;
}

/* Standard input that has an end. A terminal, a device, a directory or a closed descriptor is the runtime's to complain about. */
static int has_input(void) {
  struct stat status;
  if (system_call(SYS_fstat, 0, (long)&status, 0) < 0) return 0;
  return S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode) || S_ISREG(status.st_mode);
}

static int is_cni(const char *variable) { return begins_with(variable, "CNI_", 4); }

/* Puts the variables where the message has them, and makes room for the input. */
static int begin_message(struct launch *launch) {
  size_t length = sizeof(struct request);
  for (char **one = launch->environment; *one != NULL; one++)
    if (is_cni(*one)) length += length_of(*one) + 1;
  launch->input_offset = launch->length = length;
  launch->capacity = length + 64 * 1024;
  launch->message = allocate(launch->capacity);
  if (launch->message == NULL) return 0;
  char *at = launch->message + sizeof(struct request);
  for (char **one = launch->environment; *one != NULL; one++) {
    if (!is_cni(*one)) continue;
    size_t size = length_of(*one) + 1;
    memcpy(at, *one, size);
    at += size;
  }
  return 1;
}

static int grow(struct launch *launch) {
  if (launch->length < launch->capacity) return 1;
  long address = system_call6(SYS_mremap, (long)launch->message, (long)launch->capacity,
                              (long)(2 * launch->capacity), MREMAP_MAYMOVE, 0, 0);
  if (address < 0 && address > -4096) return 0;
  launch->message = (char *)address;
  launch->capacity *= 2;
  return 1;
}

enum input { WHOLE, CUT, LATE };

/* Reads to the end of standard input, or until it is longer than the plugin takes, or the time is up. */
static enum input read_input(struct launch *launch) {
  int64_t until_ms = launch->begun_ms + launch->verb->limit_ms;
  while (grow(launch) && launch->length - launch->input_offset <= INPUT_MAX) {
    if (!await(0, POLLIN, until_ms)) return LATE;
    long count = system_call(SYS_read, 0, (long)(launch->message + launch->length),
                             (long)(launch->capacity - launch->length));
    if (count == 0) return WHOLE;
    if (count > 0) launch->length += (size_t)count;
    else if (!is_retry(count)) break;
  }
  return CUT;
}

static const char *skip_space(const char *at, const char *end) {
  while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) at++;
  return at;
}

/* The text of the string value behind a key, if it is a plain absolute path that fits. `at` is behind the key's closing quote. */
static size_t path_value(const char *at, const char *end, const char **path) {
  at = skip_space(at, end);
  if (at == end || *at++ != ':') return 0;
  at = skip_space(at, end);
  if (end - at < 2 || at[0] != '"' || at[1] != '/') return 0;
  *path = ++at;
  while (at < end && *at != '"' && *at != '\\' && *at != 0) at++;
  return at < end && *at == '"' ? (size_t)(at - *path) : 0;
}

/*
 * Where the configuration says that the enforcer is. No JSON is parsed: this is where to ask, and the enforcer, which parses it,
 * declines if it isn't the one that is meant.
 */
static size_t find_socket(const struct launch *launch, const char **path) {
  static const char key[] = "\"socket\"";
  const char *end = launch->message + launch->length;
  for (const char *at = launch->message + launch->input_offset; end - at >= (long)sizeof key; at++) {
    if (!begins_with(at, key, sizeof key - 1)) continue;
    size_t length = path_value(at + sizeof key - 1, end, path);
    if (length > 0) return length;
  }
  *path = default_socket;
  return sizeof default_socket - 1;
}

/* As plugin/control-client.ts: only root can have put it there, and nobody can exchange it before we are connected. */
static int is_trusted(const struct sockaddr_un *address) {
  char folder[sizeof address->sun_path];
  struct stat status;
  size_t slash = length_of(address->sun_path);
  memcpy(folder, address->sun_path, sizeof folder);
  while (slash > 0 && folder[slash] != '/') slash--;
  folder[slash == 0 ? 1 : slash] = 0;
  if (system_call(SYS_lstat, (long)folder, (long)&status, 0) < 0) return 0;
  if (!S_ISDIR(status.st_mode) || status.st_uid != 0 || (status.st_mode & 077) != 0) return 0;
  if (system_call(SYS_lstat, (long)address->sun_path, (long)&status, 0) < 0) return 0;
  return S_ISSOCK(status.st_mode) && status.st_uid == 0;
}

/* A connected socket, or a negative number. Never waits. */
static int connect_enforcer(const struct launch *launch) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  const char *path;
  size_t length = find_socket(launch, &path);
  if (length + sizeof suffix > sizeof address.sun_path) return -1;
  memcpy(address.sun_path, path, length);
  memcpy(address.sun_path + length, suffix, sizeof suffix);
  if (!is_trusted(&address)) return -1;
  int fd = (int)system_call(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd >= 0 && system_call(SYS_connect, fd, (long)&address, sizeof address) == 0) return fd;
  if (fd >= 0) system_call(SYS_close, fd, 0, 0);
  return -1;
}

/* False where we can't say in which network namespace we are. */
static int describe(struct launch *launch) {
  struct request *request = (struct request *)launch->message;
  struct stat own, netns;
  const char *path = variable(launch->environment, "CNI_NETNS=");
  if (system_call(SYS_stat, (long)"/proc/self/ns/net", (long)&own, 0) < 0) return 0;
  int is_there = path != NULL && system_call(SYS_stat, (long)path, (long)&netns, 0) == 0;
  *request = (struct request){
      .length = (uint32_t)(launch->length - sizeof request->length),
      .elapsed_ms = (uint32_t)(now_ms() - launch->begun_ms),
      .own_device = own.st_dev,
      .own_inode = own.st_ino,
      .netns_device = is_there ? netns.st_dev : 0,
      .netns_inode = is_there ? netns.st_ino : 0,
      .environment_length = (uint32_t)(launch->input_offset - sizeof *request),
  };
  return 1;
}

/* Everything, or exit code 1 where the reader is gone: there is nobody left to tell. */
static _Noreturn void finish(const char *text, size_t length, int exit_code) {
  /* Of the kernel's sigaction only the handler counts here: SIG_IGN. */
  static const unsigned long ignore[4] = {1, 0, 0, 0};
  system_call6(SYS_rt_sigaction, SIGPIPE, (long)ignore, 0, 8, 0, 0);
  while (length > 0) {
    long count = system_call(SYS_write, 1, (long)text, (long)length);
    if (count < 0 && !is_retry(count)) leave(1);
    if (count == -EAGAIN) await(1, POLLOUT, now_ms() + 1000);
    if (count > 0) text += count, length -= (size_t)count;
  }
  leave(exit_code);
}

/* Returns where there is no answer. */
static void await_answer(int fd, int64_t until_ms) {
  struct answer answer;
  if (!receive_all(fd, (char *)&answer, ANSWER_HEADER, until_ms)) return;
  if (answer.is_done != 1 || answer.length < 2 || answer.length > ANSWER_MAX) return;
  size_t length = answer.length - 2;
  char *text = allocate(length + 1);
  if (text != NULL && receive_all(fd, text, length, until_ms)) finish(text, length, answer.exit_code);
}

/* Ends the process with the enforcer's answer; returns where the plugin has to run here. Nothing is sent before the greeting. */
static void hand_over(struct launch *launch) {
  char greeted[sizeof greeting];
  int64_t until_ms = launch->begun_ms + launch->verb->limit_ms;
  int64_t greeted_ms = now_ms() + GREETING_MS;
  int fd = connect_enforcer(launch);
  if (fd < 0) return;
  if (receive_all(fd, greeted, sizeof greeted, greeted_ms < until_ms ? greeted_ms : until_ms) &&
      begins_with(greeted, greeting, sizeof greeting) && describe(launch) &&
      send_all(fd, launch->message, launch->length, until_ms))
    await_answer(fd, until_ms);
  system_call(SYS_close, fd, 0, 0);
}

static int restore_input(const struct launch *launch) {
  int fd = (int)system_call(SYS_memfd_create, (long)"stdin", MFD_CLOEXEC, 0);
  if (fd < 0) return 0;
  for (size_t at = launch->input_offset; at < launch->length;) {
    long count = system_call(SYS_write, fd, (long)(launch->message + at), (long)(launch->length - at));
    if (count <= 0 && !is_retry(count)) return 0;
    if (count > 0) at += (size_t)count;
  }
  system_call(SYS_lseek, fd, 0, SEEK_SET);
  return system_call(SYS_dup2, fd, 0, 0) == 0;
}

static void write_elapsed(char *into, int64_t elapsed_ms) {
  char digits[20];
  int count = 0;
  memcpy(into, elapsed_name, sizeof elapsed_name);
  into += sizeof elapsed_name - 1;
  do digits[count++] = (char)('0' + elapsed_ms % 10);
  while ((elapsed_ms /= 10) > 0);
  while (count > 0) *into++ = digits[--count];
  *into = 0;
}

/* Standard input that never ends: what was read of the real one is gone, so nothing may look like all of it. */
static int replace_input(void) {
  int ends[2];
  return system_call(SYS_pipe, (long)ends, 0, 0) == 0 && system_call(SYS_dup2, ends[0], 0, 0) == 0;
}

/* The same binary again, past this file. Returns where that fails: it then goes on from here. */
static void run_here(const struct launch *launch) {
  char elapsed[sizeof elapsed_name + 20];
  size_t count = 0;
  while (launch->environment[count] != NULL) count++;
  char **environment = (char **)allocate((count + 2) * sizeof *environment);
  if (environment == NULL) return;
  memcpy(environment, launch->environment, count * sizeof *environment);
  write_elapsed(elapsed, now_ms() - launch->begun_ms);
  environment[count] = elapsed;
  system_call(SYS_execve, (long)"/proc/self/exe", (long)launch->arguments, (long)environment);
}

/* `stack` as the kernel left it: argc, the arguments, a null pointer, the environment, a null pointer. */
void launch(long *stack) {
  struct launch launch = {.arguments = (char **)(stack + 1), .environment = (char **)(stack + 1) + stack[0] + 1};
  launch.begun_ms = now_ms();
  launch.verb = verb_of(variable(launch.environment, "CNI_COMMAND="));
  if (stack[0] != 1 || launch.verb == NULL || variable(launch.environment, elapsed_name) != NULL) return;
  if (!has_input() || !begin_message(&launch)) return;
  enum input input = read_input(&launch);
  if (input == CUT && launch.length == launch.input_offset) return;
  if (input == WHOLE) hand_over(&launch);
  /* Late, the plugin waits until the verb's own time is up, and says so. */
  if (input == LATE ? replace_input() : restore_input(&launch)) run_here(&launch);
}
