/* The store's files over io_uring: what filesystem.cc puts RocksDB's classes around. One rocks_io_t
   per open store. Functions return 0 or a negative errno unless they say otherwise. */
#ifndef QR_STORE_ROCKS_IO_H
#define QR_STORE_ROCKS_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rocks_io rocks_io_t;
typedef struct rocks_writer rocks_writer_t;
typedef struct rocks_reader rocks_reader_t;

/* What was done since the store was opened. */
typedef struct {
  uint64_t write_cnt, read_cnt, sync_cnt; /* operations given to rings */
  uint64_t sync_ns_sum;                   /* waited for syncs */
  uint64_t refused_cnt;                   /* rings or registered buffers that could not be had */
  uint64_t zeroed_cnt, unzeroed_cnt;      /* logs begun in a file zeroed before, and without one */
} rocks_io_stats_t;

/* direct: logs and tables are written around the page cache. NULL if out of memory. */
rocks_io_t *rocks_io_open(bool direct);
void rocks_io_close(rocks_io_t *io); /* all files are closed */
void rocks_io_stats(const rocks_io_t *io, rocks_io_stats_t *out);

/* --- files that are written, front to back (writer.c) --- */

enum rocks_class { ROCKS_WAL, ROCKS_TABLE, ROCKS_SMALL };

/* Opens path for writing: emptied, or to be appended to. Ends with close, whatever happened. */
int rocks_writer_open(rocks_io_t *io, const char *path, enum rocks_class cls, bool append,
                      rocks_writer_t **out);
int rocks_writer_append(rocks_writer_t *w, const void *data, size_t sz);
/* Hands what was appended to the kernel, and does not wait for it. */
int rocks_writer_flush(rocks_writer_t *w);
/* Returns when all that was appended is durable. Any thread may call it beside an append. */
int rocks_writer_sync(rocks_writer_t *w, bool data_only);
int rocks_writer_truncate(rocks_writer_t *w, uint64_t sz);
int rocks_writer_allocate(rocks_writer_t *w, uint64_t offset, uint64_t sz);
/* Starts the write-back of a part, and does not wait for it. */
int rocks_writer_start_writeback(rocks_writer_t *w, uint64_t offset, uint64_t sz);
uint64_t rocks_writer_size(rocks_writer_t *w);
int rocks_writer_drop_cache(rocks_writer_t *w, uint64_t offset, uint64_t sz);
/* Writes the rest, cuts off what was only reserved, and frees w. */
int rocks_writer_close(rocks_writer_t *w);
/* The size of the log that is open under path as its writer knows it: on the disk it is longer.
   False if there is none. */
bool rocks_writer_size_of(rocks_io_t *io, const char *path, uint64_t *sz);

/* --- files that are read (reader.c) --- */

typedef struct {
  uint64_t offset;
  size_t sz;
  void *buf;
  int64_t result; /* bytes, less than sz at the end of the file only, or -errno */
} rocks_read_t;

/* direct: around the kernel's cache. Returns 0 or -errno. */
int rocks_reader_open(rocks_io_t *io, const char *path, bool direct, rocks_reader_t **out);
void rocks_reader_close(rocks_reader_t *r);
/* From any thread. Bytes, less than sz at the end of the file only, or -errno. */
int64_t rocks_reader_read(rocks_reader_t *r, uint64_t offset, void *buf, size_t sz);
/* Reads all of them at the same time. */
void rocks_reader_read_many(rocks_reader_t *r, rocks_read_t *reads, size_t cnt);
int rocks_reader_will_need(rocks_reader_t *r, uint64_t offset, uint64_t sz);
int rocks_reader_drop_cache(rocks_reader_t *r, uint64_t offset, uint64_t sz);
void rocks_reader_advise(rocks_reader_t *r, int advice); /* POSIX_FADV_ */

/* Reads put off (gather.c): between begin and wait, rocks_reader_read_many of the calling thread
   begins what it is asked for and returns -EAGAIN for it. wait returns when those reads have ended;
   false if there were none. From then to end, the same reads find what they brought. begin: NULL if
   out of memory. */
typedef struct rocks_gather rocks_gather_t;
rocks_gather_t *rocks_gather_begin(rocks_io_t *io);
bool rocks_gather_wait(rocks_gather_t *g);
void rocks_gather_end(rocks_gather_t *g);

/* A read that goes on by itself: begin, then either end, which waits, or stop, which gives up; and
   free. The threads may differ; one at a time. r outlives it. */
typedef struct rocks_ahead rocks_ahead_t;
int rocks_ahead_begin(rocks_reader_t *r, uint64_t offset, void *buf, size_t sz,
                      rocks_ahead_t **out);
int64_t rocks_ahead_end(rocks_ahead_t *a);
void rocks_ahead_stop(rocks_ahead_t *a);
void rocks_ahead_free(rocks_ahead_t *a);

/* A log from its beginning, read ahead (stream.c). next: a piece, good until the next call, and its
   size, less than ROCKS_PIECE_SZ at the end only, or -errno. */
#define ROCKS_PIECE_SZ ((int64_t)1 << 20)
typedef struct rocks_stream rocks_stream_t;
int rocks_stream_open(rocks_io_t *io, const char *path, rocks_stream_t **out);
int64_t rocks_stream_next(rocks_stream_t *s, const void **piece);
void rocks_stream_close(rocks_stream_t *s);

/* fsync of a directory that is open as fd. */
int rocks_dir_sync(rocks_io_t *io, int fd, const char *path);

#ifdef __cplusplus
}
#endif

#endif
