/* A log that is read from its beginning to its end, once: around the page cache, for nobody reads
   it again, and what is cached of a file has to be cleared away before the file can be removed. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "io_impl.h"

#define PIECE_CNT 3u /* one is being used while two are read */

struct rocks_stream {
  rocks_reader_t *reader;
  uint8_t *bufs;
  rocks_ahead_t *ahead[PIECE_CNT]; /* of pieces turn, turn + 1.. */
  uint32_t turn, ahead_cnt;
  uint64_t offset; /* of what is asked for next */
};

static int ask(rocks_stream_t *s) {
  uint32_t i = (s->turn + s->ahead_cnt) % PIECE_CNT;
  int rc = rocks_ahead_begin(s->reader, s->offset, s->bufs + i * ROCKS_PIECE_SZ, ROCKS_PIECE_SZ,
                             &s->ahead[i]);
  if (rc) return rc;
  s->offset += ROCKS_PIECE_SZ;
  s->ahead_cnt++;
  return 0;
}

int rocks_stream_open(rocks_io_t *io, const char *path, rocks_stream_t **out) {
  rocks_stream_t *s = calloc(1, sizeof *s);
  if (!s) return -ENOMEM;
  void *bufs = mmap(NULL, PIECE_CNT * ROCKS_PIECE_SZ, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (bufs != MAP_FAILED) s->bufs = bufs;
  int rc = s->bufs ? rocks_reader_open(io, path, true, &s->reader) : -ENOMEM;
  if (rc == -EINVAL) rc = rocks_reader_open(io, path, false, &s->reader);
  while (!rc && s->ahead_cnt < PIECE_CNT - 1) rc = ask(s);
  if (rc) {
    rocks_stream_close(s);
    return rc;
  }
  *out = s;
  return 0;
}

void rocks_stream_close(rocks_stream_t *s) {
  for (; s->ahead_cnt; s->ahead_cnt--, s->turn = (s->turn + 1) % PIECE_CNT) {
    rocks_ahead_stop(s->ahead[s->turn]);
    rocks_ahead_free(s->ahead[s->turn]);
  }
  if (s->reader) rocks_reader_close(s->reader);
  if (s->bufs) munmap(s->bufs, PIECE_CNT * ROCKS_PIECE_SZ);
  free(s);
}

int64_t rocks_stream_next(rocks_stream_t *s, const void **piece) {
  if (!s->ahead_cnt) return 0; /* the end has been met */
  uint32_t i = s->turn;
  int64_t n = rocks_ahead_end(s->ahead[i]);
  rocks_ahead_free(s->ahead[i]);
  s->turn = (i + 1) % PIECE_CNT;
  s->ahead_cnt--;
  *piece = s->bufs + i * ROCKS_PIECE_SZ;
  if (n == ROCKS_PIECE_SZ) {
    int rc = ask(s);
    if (rc) return rc;
  }
  return n;
}
