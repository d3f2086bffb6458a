#include "emu/emu.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "emu/damage.h"
#include "emu/internal.h"
#include "port/clock.h"

#define SECOND_NS UINT64_C(1000000000)
#define SLEEP_MAX_NS (SECOND_NS / 5)
#define LINE_SZ 512u
#define NAME_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

/* ---- opening ---- */

qr_emu_t *qr_emu_open(const qr_emu_cfg_t *cfg, char *why, size_t why_sz) {
  qr_emu_t *e = calloc(1, sizeof *e);
  uint32_t frame_sz = cfg->frame_max_sz ? cfg->frame_max_sz : QR_EMU_FRAME_MAX_SZ;
  uint32_t mib = cfg->room_mib ? cfg->room_mib : QR_EMU_ROOM_MIB;
  if (frame_sz < 64 || frame_sz > QR_EMU_FRAME_LIMIT_SZ || mib > 4096) {
    snprintf(why, why_sz, "frames have 64 to %u bytes, and their room at most 4096 MiB",
             QR_EMU_FRAME_LIMIT_SZ);
    free(e);
    return NULL;
  }
  uint32_t slot_sz = (uint32_t)qr_align_up(frame_sz, 64);
  uint32_t slot_cnt = (uint32_t)(((uint64_t)mib << 20) / slot_sz);
  if (!e || !qr_emu_room_init(&e->room, slot_cnt, slot_sz)) {
    snprintf(why, why_sz, "no memory for %u frames of %u bytes", slot_cnt, slot_sz);
    free(e);
    return NULL;
  }
  e->cfg = *cfg;
  e->cfg.frame_max_sz = frame_sz;
  e->opened_ns = qr_clock_mono_ns();
  return e;
}

void qr_emu_close(qr_emu_t *e) {
  if (!e) return;
  for (uint32_t i = 0; i < e->node_cnt; i++) e->nodes[i].ops->close(e->nodes[i].port);
  qr_emu_room_fini(&e->room);
  free(e);
}

int qr_emu_add_port(qr_emu_t *e, const char *text, char *why, size_t why_sz) {
  const char *eq = strchr(text, '='), *where = eq ? eq + 1 : text, *slash;
  const bool memif = !strncmp(where, "memif:", 6);
  if (e->node_cnt == QR_EMU_PORT_MAX_CNT) {
    snprintf(why, why_sz, "at most %u ports", QR_EMU_PORT_MAX_CNT);
    return QR_ERR_FULL;
  }
  if (memif) where += 6;
  const char *name = eq ? text : (slash = strrchr(where, '/')) ? slash + 1 : where;
  size_t sz = eq ? (size_t)(eq - text) : strlen(name);
  if (!sz || sz >= QR_EMU_NAME_SZ || strspn(name, NAME_LETTERS) < sz) {
    snprintf(why, why_sz, "port '%s' needs a name of 1 to %u letters, digits, . _ -: NAME=%s", text,
             QR_EMU_NAME_SZ - 1, where);
    return QR_ERR_ARG;
  }
  qr_emu_node_t *n = &e->nodes[e->node_cnt];
  *n = (qr_emu_node_t){.ops = memif ? &qr_emu_memif_ops : &qr_emu_packet_ops};
  memcpy(n->name, name, sz);
  for (uint32_t i = 0; i < e->node_cnt; i++) {
    if (strcmp(e->nodes[i].name, n->name)) continue;
    snprintf(why, why_sz, "two ports are named '%s'", n->name);
    return QR_ERR_ARG;
  }
  for (uint32_t i = 0; i < 2; i++) qr_emu_line_init(&n->lines[i], e->cfg.seed, 2 * e->node_cnt + i);
  int err = n->ops->open(where, e->cfg.frame_max_sz, &n->port, why, why_sz);
  if (!err) e->node_cnt++;
  return err;
}

/* ---- frames ---- */

static void flush(qr_emu_t *e, qr_emu_node_t *n) {
  qr_emu_bytes_t frames[QR_EMU_BURST];
  if (!n->out_cnt) return;
  for (uint32_t i = 0; i < n->out_cnt; i++)
    frames[i] = (qr_emu_bytes_t){qr_emu_room_bytes(&e->room, n->out[i]), e->room.sz[n->out[i]]};
  n->ops->tx(n->port, frames, n->out_cnt);
  for (uint32_t i = 0; i < n->out_cnt; i++) qr_emu_room_drop(&e->room, n->out[i]);
  n->out_cnt = 0;
}

/* Sends; takes the caller's reference. */
static void emit(qr_emu_t *e, qr_emu_node_t *n, uint32_t slot) {
  n->out[n->out_cnt++] = slot;
  if (n->out_cnt == QR_EMU_BURST) flush(e, n);
}

static void come_out(qr_emu_t *e, uint32_t port, bool to_node, uint32_t slot, uint64_t at_ns);

/* A copy of the frame that is damaged; takes the caller's reference. UINT32_MAX: there is no room.
 */
static uint32_t damaged(qr_emu_t *e, const qr_emu_judgement_t *j, uint32_t slot) {
  uint32_t copy = qr_emu_room_take(&e->room);
  if (copy == UINT32_MAX) {
    e->no_room_cnt++;
  } else {
    uint8_t *p = qr_emu_room_bytes(&e->room, copy);
    size_t sz = e->room.sz[slot];
    memcpy(p, qr_emu_room_bytes(&e->room, slot), sz);
    if (j->truncate) sz = qr_emu_truncate(p, sz, j->word);
    if (j->corrupt) qr_emu_corrupt(p, sz, j->word);
    e->room.sz[copy] = (uint32_t)sz;
  }
  qr_emu_room_drop(&e->room, slot);
  return copy;
}

/* Gives a frame to a line; takes the caller's reference. */
static void put(qr_emu_t *e, uint32_t port, bool to_node, uint32_t slot, uint64_t at_ns) {
  qr_emu_judgement_t j = qr_emu_line_judge(&e->nodes[port].lines[to_node], at_ns, e->room.sz[slot]);
  if (j.cnt && (j.corrupt || j.truncate)) {
    slot = damaged(e, &j, slot);
    if (slot == UINT32_MAX) return;
  }
  for (unsigned i = 0; i < j.cnt; i++) {
    qr_emu_room_share(&e->room, slot);
    if (j.due_ns[i] <= e->now_ns) {
      come_out(e, port, to_node, slot, j.due_ns[i]);
    } else if (!qr_emu_room_wait(&e->room, j.due_ns[i], slot, (uint16_t)port, to_node)) {
      e->no_room_cnt++;
      qr_emu_room_drop(&e->room, slot);
    }
  }
  qr_emu_room_drop(&e->room, slot);
}

static void pass(qr_emu_t *e, uint32_t from, uint32_t to, uint32_t slot, uint64_t at_ns) {
  if (e->nodes[from].group != e->nodes[to].group) {
    e->nodes[from].cut_cnt++;
    return;
  }
  qr_emu_room_share(&e->room, slot);
  put(e, to, QR_EMU_TO, slot, at_ns);
}

/* A frame has come to the end of a line, where it was due at at_ns: the next line begins there, so
   that lateness does not add up. Takes the caller's reference. */
static void come_out(qr_emu_t *e, uint32_t port, bool to_node, uint32_t slot, uint64_t at_ns) {
  if (to_node) {
    emit(e, &e->nodes[port], slot);
    return;
  }
  const uint8_t *frame = qr_emu_room_bytes(&e->room, slot);
  qr_emu_station_learn(&e->stations, frame, (uint16_t)port, at_ns);
  uint16_t to = qr_emu_station_find(&e->stations, frame);
  if (to == QR_EMU_EVERYWHERE) {
    for (uint32_t i = 0; i < e->node_cnt; i++) {
      if (i != port) pass(e, port, i, slot, at_ns);
    }
  } else if (to != port) {
    pass(e, port, to, slot, at_ns);
  }
  qr_emu_room_drop(&e->room, slot);
}

static uint32_t take_in(qr_emu_t *e, uint32_t port, uint64_t now_ns) {
  qr_emu_bytes_t frames[QR_EMU_BURST];
  qr_emu_node_t *n = &e->nodes[port];
  uint32_t cnt = n->ops->rx(n->port, frames, QR_EMU_BURST);
  for (uint32_t i = 0; i < cnt; i++) {
    uint32_t slot = qr_emu_room_take(&e->room);
    if (slot == UINT32_MAX) {
      e->no_room_cnt++;
      continue;
    }
    memcpy(qr_emu_room_bytes(&e->room, slot), frames[i].p, frames[i].sz);
    e->room.sz[slot] = frames[i].sz;
    put(e, port, QR_EMU_FROM, slot, now_ns);
  }
  n->ops->rx_done(n->port);
  return cnt;
}

/* Moves frames that are there or due at now_ns; returns how many. */
static uint32_t move(qr_emu_t *e, uint64_t now_ns) {
  uint32_t done = 0;
  qr_emu_wait_t w;
  e->now_ns = now_ns;
  for (uint32_t i = 0; i < e->node_cnt; i++) done += take_in(e, i, now_ns);
  for (uint32_t i = 0; i < QR_EMU_BURST * e->node_cnt; i++) {
    if (!qr_emu_room_due(&e->room, now_ns, &w)) break;
    uint64_t late_ns = now_ns - w.due_ns;
    e->late_cnt++;
    e->late_sum_ns += late_ns;
    if (late_ns > e->late_max_ns) e->late_max_ns = late_ns;
    come_out(e, w.port, w.to_node, w.slot, w.due_ns);
    done++;
  }
  for (uint32_t i = 0; i < e->node_cnt; i++) flush(e, &e->nodes[i]);
  if (done) e->heard_ns = now_ns;
  return done;
}

/* ---- the loop ---- */

typedef struct {
  char text[LINE_SZ];
  uint32_t sz;
  bool ended, too_long;
} input_t;

/* false: told to quit. */
static bool obey(qr_emu_t *e, char *line, FILE *out) {
  char why[256];
  line[strcspn(line, "\r")] = 0;
  if (!*line) return true;
  if (!strcmp(line, "quit")) return false;
  if (!strcmp(line, "show")) {
    qr_emu_report(e, out);
  } else if (qr_emu_command(e, line, why, sizeof why)) {
    fprintf(out, "error: %s\n", why);
  } else {
    fputs("ok\n", out);
  }
  fflush(out);
  return true;
}

/* Reads what there is. false: told to quit. */
static bool read_commands(qr_emu_t *e, int fd, input_t *in, FILE *out) {
  ssize_t n = read(fd, in->text + in->sz, sizeof in->text - in->sz);
  if (n <= 0) {
    in->ended = n == 0 || (errno != EAGAIN && errno != EINTR);
    return true;
  }
  in->sz += (uint32_t)n;
  char *end;
  while ((end = memchr(in->text, '\n', in->sz))) {
    *end = 0;
    if (!in->too_long && !obey(e, in->text, out)) return false;
    in->too_long = false;
    in->sz -= (uint32_t)(end + 1 - in->text);
    memmove(in->text, end + 1, in->sz);
  }
  if (in->sz == sizeof in->text) { /* no command is that long */
    if (!in->too_long) fputs("error: the line is too long\n", out);
    in->too_long = true;
    in->sz = 0;
  }
  return true;
}

/* An interface that went down tells its socket so, which is awake until that has been read. */
static void read_errors(const struct pollfd *fds, uint32_t cnt) {
  for (uint32_t i = 0; i < cnt; i++) {
    int error;
    socklen_t sz = sizeof error;
    if (fds[i].revents & POLLERR) (void)getsockopt(fds[i].fd, SOL_SOCKET, SO_ERROR, &error, &sz);
  }
}

void qr_emu_run(qr_emu_t *e, int in_fd, FILE *out, const volatile sig_atomic_t *stop) {
  struct pollfd fds[QR_EMU_PORT_MAX_CNT * QR_EMU_PORT_FD_MAX_CNT + 1];
  input_t in = {.ended = in_fd < 0};
  (void)prctl(PR_SET_TIMERSLACK, 1ul);
  while (!*stop) {
    uint64_t now_ns = qr_clock_mono_ns(), wait_ns = SLEEP_MAX_NS;
    if (move(e, now_ns)) continue;
    uint32_t cnt = 0;
    for (uint32_t i = 0; i < e->node_cnt; i++)
      cnt += e->nodes[i].ops->fds(e->nodes[i].port, fds + cnt);
    if (!in.ended) fds[cnt] = (struct pollfd){.fd = in_fd, .events = POLLIN};
    uint64_t next_ns = qr_emu_room_next_ns(&e->room);
    if (next_ns < now_ns + wait_ns) wait_ns = next_ns - now_ns;
    if (now_ns - e->heard_ns < e->cfg.spin_ns) wait_ns = 0;
    struct timespec t = {.tv_sec = 0, .tv_nsec = (long)wait_ns};
    int ready = ppoll(fds, cnt + !in.ended, &t, NULL);
    if (ready > 0) read_errors(fds, cnt);
    if (ready > 0 && !in.ended && fds[cnt].revents && !read_commands(e, in_fd, &in, out)) return;
  }
}
