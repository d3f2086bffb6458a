#include "app/rpc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "app/rpc_json.h"
#include "base/err.h"
#include "base/log.h"

#define POLL_EVERY_NS 1000000u
#define ANSWER_WITHIN_NS 15000000000u   /* a tile that is merely busy answers well before */
#define VERIFY_WITHIN_NS 180000000000u  /* re-execution of a large block on a slow, loaded core */
#define BACKUP_WITHIN_NS 1800000000000u /* a copy onto another file system */
#define WRITE_WITHIN_NS 10000000000u    /* a client that takes nothing for so long is dropped */
#define EVICT_AFTER_NS                                                                             \
  5000000000u /* when all places are taken, one idle for so long makes room                        \
               */

typedef struct {
  int fd;       /* -1: free place */
  bool discard; /* the line is too long: skip to its end */
  bool eof;     /* sends no more: answer what it sent, then close */
  bool pending; /* waits for a reply */
  uint64_t query_id, deadline_ns, active_ns;
  char id[QR_RPC_ID_SZ]; /* of the pending request */
  size_t in_sz, out_sz, out_off;
  char in[QR_RPC_REQUEST_MAX_SZ];
  char out[QR_RPC_ANSWER_MAX_SZ];
} client_t;

struct qr_rpc {
  int listen_fd, lock_fd;
  qr_ring_t *queries, *replies;
  uint64_t next_id, polled_ns;
  atomic_bool stop;
  char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
  client_t clients[QR_RPC_CLIENT_MAX_CNT];
};

/* ---- opening ---- */

static int io_fail(char *why, size_t why_sz, const char *what, const char *path) {
  snprintf(why, why_sz, "control socket: cannot %s %s: %s", what, path, strerror(errno));
  return QR_ERR_IO;
}

/* The lock, not the socket, says who is alive: the kernel drops it with its process, however that
 * ends. */
static int take_lock(qr_rpc_t *r, char *why, size_t why_sz) {
  char path[sizeof r->path + 8];
  snprintf(path, sizeof path, "%s.lock", r->path);
  r->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (r->lock_fd < 0) return io_fail(why, why_sz, "open", path);
  if (flock(r->lock_fd, LOCK_EX | LOCK_NB)) {
    if (errno != EWOULDBLOCK) return io_fail(why, why_sz, "lock", path);
    snprintf(why, why_sz,
             "control socket: another quarryd is running on %s; stop it ('quarry --socket %s "
             "stop') or choose "
             "another --dir",
             r->path, r->path);
    return QR_ERR_BUSY;
  }
  return QR_OK;
}

static int bind_socket(qr_rpc_t *r, char *why, size_t why_sz) {
  struct stat st;
  if (!lstat(r->path, &st)) {
    if (!S_ISSOCK(st.st_mode)) {
      snprintf(why, why_sz,
               "control socket: %s exists and is not a socket; move it away or give another "
               "--rpc.socket",
               r->path);
      return QR_ERR_IO;
    }
    if (unlink(r->path)) return io_fail(why, why_sz, "remove the old", r->path);
  }
  r->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (r->listen_fd < 0) return io_fail(why, why_sz, "make", r->path);
  struct sockaddr_un sa = {.sun_family = AF_UNIX};
  memcpy(sa.sun_path, r->path, sizeof sa.sun_path);
  /* Linux gives the file the socket's own mode, so there is no moment at which others could
   * connect. */
  if (fchmod(r->listen_fd, 0600) || bind(r->listen_fd, (struct sockaddr *)&sa, sizeof sa) ||
      chmod(r->path, 0600) || listen(r->listen_fd, (int)QR_RPC_CLIENT_MAX_CNT)) {
    return io_fail(why, why_sz, "listen on", r->path);
  }
  return QR_OK;
}

int qr_rpc_init(const char *path, qr_ring_t *queries, qr_ring_t *replies, qr_rpc_t **out, char *why,
                size_t why_sz) {
  qr_rpc_t *r = calloc(1, sizeof *r);
  if (!r) {
    snprintf(why, why_sz, "control socket: out of memory");
    return QR_ERR_NOMEM;
  }
  r->listen_fd = r->lock_fd = -1;
  r->queries = queries;
  r->replies = replies;
  r->next_id = 1;
  for (size_t i = 0; i < QR_RPC_CLIENT_MAX_CNT; i++) r->clients[i].fd = -1;
  int rc = QR_OK;
  if (strlen(path) >= sizeof r->path) {
    snprintf(why, why_sz, "control socket: the path %s is longer than %zu bytes", path,
             sizeof r->path - 1);
    rc = QR_ERR_IO;
  } else {
    memcpy(r->path, path, strlen(path));
    rc = take_lock(r, why, why_sz);
    if (!rc) rc = bind_socket(r, why, why_sz);
  }
  if (rc) {
    if (r->listen_fd >= 0) close(r->listen_fd);
    if (r->lock_fd >= 0) close(r->lock_fd);
    free(r);
    return rc;
  }
  *out = r;
  return QR_OK;
}

void qr_rpc_fini(qr_rpc_t *r) {
  if (!r) return;
  for (size_t i = 0; i < QR_RPC_CLIENT_MAX_CNT; i++) {
    if (r->clients[i].fd >= 0) close(r->clients[i].fd);
  }
  unlink(r->path);
  close(r->listen_fd);
  close(r->lock_fd); /* the lock file stays: removing it would race with the next owner */
  free(r);
}

bool qr_rpc_stop_asked(const qr_rpc_t *r) {
  return atomic_load_explicit(&r->stop, memory_order_relaxed);
}

/* ---- clients ---- */

static void drop(client_t *c) {
  close(c->fd);
  c->fd = -1;
  c->pending = false; /* its reply, if one comes, matches nobody */
}

static bool has_output(const client_t *c) { return c->out_off < c->out_sz; }

static void flush_output(client_t *c, uint64_t now_ns) {
  while (has_output(c)) {
    ssize_t n =
        send(c->fd, c->out + c->out_off, c->out_sz - c->out_off, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (n <= 0) {
      drop(c);
      return;
    }
    c->out_off += (size_t)n;
    c->active_ns = now_ns;
  }
}

static void say(client_t *c, size_t sz, uint64_t now_ns) {
  c->out_sz = sz;
  c->out_off = 0;
  c->active_ns = now_ns;
  flush_output(c, now_ns);
}

static void say_error(client_t *c, const char *id, int code, const char *message, uint64_t now_ns) {
  say(c, qr_rpc_answer_error(id, code, message, c->out, sizeof c->out), now_ns);
}

static void handle_line(qr_rpc_t *r, client_t *c, const char *line, size_t sz, uint64_t now_ns) {
  qr_rpc_request_t q;
  char why[160];
  int rc = qr_rpc_parse(line, sz, &q, why, sizeof why);
  if (rc) {
    say_error(c, q.id, rc, why, now_ns);
    return;
  }
  if (q.stop) {
    atomic_store_explicit(&r->stop, true, memory_order_relaxed);
    qr_log(QR_LOG_INFO, "rpc", "stop-asked");
    say(c, qr_rpc_answer_ok(q.id, c->out, sizeof c->out), now_ns);
    return;
  }
  q.query.id = r->next_id++;
  if (!qr_ring_push(r->queries, &q.query)) {
    say_error(c, q.id, QR_ERR_FULL, "the node has too many questions waiting; ask again", now_ns);
    return;
  }
  memcpy(c->id, q.id, sizeof c->id);
  c->pending = true;
  c->query_id = q.query.id;
  c->deadline_ns = now_ns + (q.query.kind == QR_QUERY_VERIFY   ? VERIFY_WITHIN_NS
                             : q.query.kind == QR_QUERY_BACKUP ? BACKUP_WITHIN_NS
                                                               : ANSWER_WITHIN_NS);
}

/* Handles complete lines while the client has no request in work and nothing left to read. Returns
 * how many. */
static uint32_t handle_input(qr_rpc_t *r, client_t *c, uint64_t now_ns) {
  uint32_t done = 0;
  while (c->fd >= 0 && !c->pending && !has_output(c)) {
    char *end = memchr(c->in, '\n', c->in_sz);
    if (!end) {
      if (c->in_sz < sizeof c->in) break;
      c->in_sz = 0;
      if (!c->discard)
        say_error(c, "null", QR_ERR_FORMAT, "the request is longer than 4096 bytes", now_ns);
      c->discard = true;
      continue;
    }
    size_t sz = (size_t)(end - c->in);
    bool skip = c->discard || !sz;
    c->discard = false;
    if (!skip) handle_line(r, c, c->in, sz, now_ns);
    if (c->fd < 0) return done + 1;
    c->in_sz -= sz + 1;
    memmove(c->in, end + 1, c->in_sz);
    done++;
  }
  return done;
}

static void read_input(client_t *c, uint64_t now_ns) {
  ssize_t n = recv(c->fd, c->in + c->in_sz, sizeof c->in - c->in_sz, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
  if (n < 0) {
    drop(c);
    return;
  }
  c->eof = !n;
  c->in_sz += (size_t)n;
  c->active_ns = now_ns;
}

/* A free place; failing that, the one that has been idle longest. */
static client_t *place(qr_rpc_t *r, uint64_t now_ns) {
  client_t *oldest = NULL;
  for (size_t i = 0; i < QR_RPC_CLIENT_MAX_CNT; i++) {
    client_t *c = &r->clients[i];
    if (c->fd < 0) return c;
    if (!c->pending && (!oldest || c->active_ns < oldest->active_ns)) oldest = c;
  }
  if (!oldest || now_ns - oldest->active_ns < EVICT_AFTER_NS) return NULL;
  drop(oldest);
  return oldest;
}

static void accept_client(qr_rpc_t *r, uint64_t now_ns) {
  static const char full[] = "{\"id\":null,\"error\":{\"code\":-6,\"message\":\"all 16 places of "
                             "the control socket are taken\"}}\n";
  int fd = accept4(r->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return;
  client_t *c = place(r, now_ns);
  if (!c) {
    ssize_t ignored = send(fd, full, sizeof full - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)ignored; /* nothing more can be done for this one */
    close(fd);
    return;
  }
  c->fd = fd;
  c->discard = c->eof = c->pending = false;
  c->in_sz = c->out_sz = c->out_off = 0;
  c->active_ns = now_ns;
}

static uint32_t take_replies(qr_rpc_t *r, uint64_t now_ns) {
  qr_reply_t reply;
  uint32_t done = 0;
  while (qr_ring_pop(r->replies, &reply)) {
    done++;
    for (size_t i = 0; i < QR_RPC_CLIENT_MAX_CNT; i++) {
      client_t *c = &r->clients[i];
      if (c->fd < 0 || !c->pending || c->query_id != reply.id) continue;
      c->pending = false;
      say(c, qr_rpc_answer(c->id, &reply, c->out, sizeof c->out), now_ns);
    }
  }
  return done;
}

static void expire(client_t *c, uint64_t now_ns) {
  if (c->pending && now_ns > c->deadline_ns) {
    c->pending = false;
    say_error(c, c->id, QR_ERR_AGAIN,
              "the node did not answer in time; it may be busy or stuck, see its log", now_ns);
  } else if (has_output(c) && now_ns - c->active_ns > WRITE_WITHIN_NS) {
    drop(c);
  }
}

static uint32_t poll_sockets(qr_rpc_t *r, uint64_t now_ns) {
  struct pollfd fds[QR_RPC_CLIENT_MAX_CNT + 1] = {{.fd = r->listen_fd, .events = POLLIN}};
  for (size_t i = 0; i < QR_RPC_CLIENT_MAX_CNT; i++) {
    const client_t *c = &r->clients[i];
    bool wants = c->in_sz < sizeof c->in && !has_output(c) && !c->eof;
    fds[i + 1] = (struct pollfd){
        .fd = c->fd, .events = (short)((wants ? POLLIN : 0) | (has_output(c) ? POLLOUT : 0))};
  }
  int ready = poll(fds, QR_ARRAY_CNT(fds), 0);
  uint32_t done = ready > 0 ? (uint32_t)ready : 0;
  for (size_t i = 0; i < QR_RPC_CLIENT_MAX_CNT; i++) {
    client_t *c = &r->clients[i];
    short ev = ready > 0 ? fds[i + 1].revents : 0;
    if (c->fd >= 0 && ev & POLLOUT) flush_output(c, now_ns);
    if (c->fd >= 0 && ev & POLLIN) read_input(c, now_ns);
    if (c->fd >= 0 && ev & (POLLERR | POLLNVAL) && !(ev & POLLIN)) drop(c);
    if (c->fd >= 0 && ev & POLLHUP && !(ev & POLLIN)) drop(c);
    if (c->fd >= 0) expire(c, now_ns);
    if (c->fd >= 0) done += handle_input(r, c, now_ns);
    if (c->fd >= 0 && c->eof && !c->pending && !has_output(c)) drop(c);
  }
  if (ready > 0 && fds[0].revents & POLLIN) accept_client(r, now_ns);
  return done;
}

uint32_t qr_rpc_poll(qr_rpc_t *r, uint64_t now_ns) {
  uint32_t done = take_replies(r, now_ns);
  if (!done && now_ns - r->polled_ns < POLL_EVERY_NS) return 0;
  r->polled_ns = now_ns;
  return done + poll_sockets(r, now_ns);
}
