#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "app/cli.h"
#include "app/cli_work.h"
#include "app/rpc.h"
#include "base/err.h"
#include "port/clock.h"

#define TICK_MS 500

static uint64_t mono_ms(void) { return qr_clock_mono_ns() / 1000000u; }

static int dial(const char *path, uint32_t timeout_ms, int *code, char *why, size_t why_sz) {
  struct sockaddr_un sa = {.sun_family = AF_UNIX};
  *code = QR_ERR_ARG;
  if (strlen(path) >= sizeof sa.sun_path) {
    snprintf(why, why_sz, "the socket's path %s is longer than %zu bytes", path,
             sizeof sa.sun_path - 1);
    return -1;
  }
  memcpy(sa.sun_path, path, strlen(path));
  *code = QR_ERR_CLOSED;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct timeval tv = {.tv_sec = timeout_ms / 1000,
                       .tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000};
  if (fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv) &&
      !connect(fd, (struct sockaddr *)&sa, sizeof sa)) {
    return fd;
  }
  if (errno == ENOENT || errno == ECONNREFUSED) {
    snprintf(why, why_sz,
             "no quarryd answers on %s: start one, or name its data directory with --dir", path);
  } else if (errno == EACCES) {
    snprintf(why, why_sz, "%s belongs to another user: run quarry as the user that runs quarryd",
             path);
  } else {
    snprintf(why, why_sz, "cannot connect to %s: %s", path, strerror(errno));
  }
  if (fd >= 0) close(fd);
  return -1;
}

static bool send_all(int fd, const char *p, size_t sz) {
  while (sz) {
    ssize_t n = send(fd, p, sz, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    p += n;
    sz -= (size_t)n;
  }
  return true;
}

/* Reads one line. Returns its length, 0 if the node hung up or talks nonsense, -1 if time ran out,
   -2 if the user wants no more. */
static ssize_t read_line(int fd, char *out, size_t out_sz, uint32_t timeout_ms) {
  uint64_t end = mono_ms() + timeout_ms;
  size_t n = 0;
  for (;;) {
    uint64_t now = mono_ms();
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (now >= end) return -1;
    if (qr_cli_work_stopped()) return -2;
    int ready = poll(&p, 1, end - now < TICK_MS ? (int)(end - now) : TICK_MS);
    qr_cli_work_tick();
    if (ready < 0 && errno != EINTR) return 0;
    if (ready <= 0) continue;
    ssize_t got = recv(fd, out + n, out_sz - n, 0);
    if (got <= 0) return 0;
    n += (size_t)got;
    if (out[n - 1] == '\n') return (ssize_t)n;
    if (n == out_sz) return 0;
  }
}

static json_t *exchange(int fd, json_t *request, uint32_t timeout_ms, int *code, char *why,
                        size_t why_sz) {
  static char line[QR_RPC_ANSWER_MAX_SZ];
  size_t n = json_dumpb(request, line, sizeof line - 1, JSON_COMPACT);
  line[n++] = '\n';
  ssize_t got = send_all(fd, line, n) ? read_line(fd, line, sizeof line, timeout_ms) : 0;
  if (got == -2) {
    *code = QR_ERR_CANCELLED;
    snprintf(why, why_sz, "interrupted");
    return NULL;
  }
  if (got <= 0) {
    *code = got ? QR_ERR_AGAIN : QR_ERR_CLOSED;
    snprintf(why, why_sz,
             got ? "quarryd did not answer within %u s; see its log"
                 : "quarryd closed the connection",
             timeout_ms / 1000);
    return NULL;
  }
  json_t *root = json_loadb(line, (size_t)got, 0, NULL);
  json_t *result = json_object_get(root, "result"), *error = json_object_get(root, "error");
  if (!result) {
    *code = (int)json_integer_value(json_object_get(error, "code"));
    const char *message = json_string_value(json_object_get(error, "message"));
    snprintf(why, why_sz, "%s",
             message ? message
                     : "quarryd's answer makes no sense; are quarry and quarryd of one version?");
  }
  json_incref(result);
  json_decref(root);
  return result;
}

json_t *qr_cli_call(const char *path, const char *method, json_t *params, uint32_t timeout_ms,
                    int *code, char *why, size_t why_sz) {
  json_t *request = json_object(), *result = NULL;
  json_object_set_new(request, "id", json_integer(1));
  json_object_set_new(request, "method", json_string(method));
  if (params) json_object_set_new(request, "params", params);
  int fd = dial(path, timeout_ms, code, why, why_sz);
  if (fd >= 0) {
    result = exchange(fd, request, timeout_ms, code, why, why_sz);
    close(fd);
  }
  json_decref(request);
  return result;
}

json_t *qr_cli_ask(const qr_cli_t *cli, const char *method, json_t *params) {
  int code = 0;
  char why[512];
  uint32_t timeout_ms = strcmp(method, "verify") ? QR_CLI_CALL_MS : QR_CLI_VERIFY_MS;
  json_t *result = qr_cli_call(cli->socket, method, params, timeout_ms, &code, why, sizeof why);
  if (!result) qr_cli_fail(cli, code, why);
  return result;
}

const char *qr_cli_text(const json_t *o, const char *key) {
  const char *s = json_string_value(json_object_get(o, key));
  return s ? s : "";
}

uint64_t qr_cli_num(const json_t *o, const char *key) {
  const json_t *v = json_object_get(o, key);
  uint64_t n = 0;
  if (json_is_string(v)) return qr_cli_parse_u64(json_string_value(v), UINT64_MAX, &n) ? n : 0;
  return (uint64_t)json_integer_value(v);
}
