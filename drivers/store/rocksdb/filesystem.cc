// RocksDB's classes around io.h: names and error codes change their form here, and nothing else
// happens. RocksDB 7.8 calls all of it without exceptions.
#include "filesystem.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <rocksdb/options.h>
#include <rocksdb/utilities/object_registry.h>
#include <string.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <vector>

#include "crc32c.h"
#include "log_check.h"
#include "tap_call.h"

/* RocksDB's function, by its own name: the program's definition goes before a shared library's, and
   RocksDB calls this one. What it computes is fixed by RocksDB's file formats. Where the processor
   cannot, the library's goes on doing it. */
namespace rocksdb {
namespace crc32c {
uint32_t Extend(uint32_t crc, const char *data, size_t sz);
uint32_t Extend(uint32_t crc, const char *data, size_t sz) {
  static const bool usable = rocks_crc32c_usable();
  if (usable) return rocks_crc32c(crc, data, sz);
  using Function = uint32_t (*)(uint32_t, const char *, size_t);
  static const Function library =
      reinterpret_cast<Function>(dlsym(RTLD_NEXT, "_ZN7rocksdb6crc32c6ExtendEjPKcm"));
  return library(crc, data, sz);
}
} // namespace crc32c
} // namespace rocksdb

namespace {

using rocksdb::FileOptions;
using rocksdb::FSReadRequest;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

/* As the stock file system types them, since RocksDB decides by it what heals by itself: no space
   does, once there is some again; a failed write or sync of the log or the MANIFEST does not. */
IOStatus Status(const char *what, const std::string &path, int64_t rc) {
  if (rc >= 0) return IOStatus::OK();
  int err = static_cast<int>(-rc);
  std::string context = std::string("While ") + what + ": " + path;
  IOStatus s;
  switch (err) {
  case ENOSPC:
  case EDQUOT:
    s = IOStatus::NoSpace(context, strerror(err));
    s.SetRetryable(true);
    return s;
  case ENOENT: return IOStatus::PathNotFound(context, strerror(err));
  case ESTALE: return IOStatus::IOError(IOStatus::kStaleFile);
  case ENOTSUP: return IOStatus::NotSupported(context, strerror(err));
  default:
    s = IOStatus::IOError(context, strerror(err));
    s.SetRetryable(false);
    return s;
  }
}

class WritableFile final : public rocksdb::FSWritableFile {
public:
  WritableFile(const std::string &path, const FileOptions &o, rocks_writer_t *w)
      : FSWritableFile(o), path_(path), w_(w) {}
  ~WritableFile() override {
    if (w_) (void)rocks_writer_close(w_);
  }
  using FSWritableFile::Append;
  IOStatus Append(const Slice &data, const IOOptions &, IODebugContext *) override {
    return Status("appending", path_, rocks_writer_append(w_, data.data(), data.size()));
  }
  IOStatus Flush(const IOOptions &, IODebugContext *) override {
    return Status("writing", path_, rocks_writer_flush(w_));
  }
  IOStatus Sync(const IOOptions &, IODebugContext *) override {
    return Status("syncing", path_, rocks_writer_sync(w_, true));
  }
  IOStatus Fsync(const IOOptions &, IODebugContext *) override {
    return Status("syncing", path_, rocks_writer_sync(w_, false));
  }
  bool IsSyncThreadSafe() const override { return true; }
  IOStatus Close(const IOOptions &, IODebugContext *) override {
    rocks_writer_t *w = w_;
    w_ = nullptr;
    return w ? Status("closing", path_, rocks_writer_close(w)) : IOStatus::OK();
  }
  IOStatus Truncate(uint64_t sz, const IOOptions &, IODebugContext *) override {
    return Status("truncating", path_, rocks_writer_truncate(w_, sz));
  }
  IOStatus Allocate(uint64_t offset, uint64_t sz, const IOOptions &, IODebugContext *) override {
    return Status("allocating", path_, rocks_writer_allocate(w_, offset, sz));
  }
  IOStatus RangeSync(uint64_t offset, uint64_t sz, const IOOptions &, IODebugContext *) override {
    return Status("writing back", path_, rocks_writer_start_writeback(w_, offset, sz));
  }
  IOStatus InvalidateCache(size_t offset, size_t sz) override {
    return Status("dropping", path_, rocks_writer_drop_cache(w_, offset, sz));
  }
  uint64_t GetFileSize(const IOOptions &, IODebugContext *) override {
    return rocks_writer_size(w_);
  }

private:
  std::string path_;
  rocks_writer_t *w_;
};

/* A read that was begun by ReadAsync. */
struct Handle {
  std::string path;
  rocks_ahead_t *ahead;
  FSReadRequest request;
  std::function<void(const FSReadRequest &, void *)> done;
  void *arg;
  bool ended;

  void End(const IOStatus &status, int64_t got) {
    ended = true;
    request.status = status;
    request.result = Slice(request.scratch, got > 0 ? static_cast<size_t>(got) : 0);
    done(request, arg);
  }
};

void DeleteHandle(void *p) {
  Handle *h = static_cast<Handle *>(p);
  if (!h->ended) rocks_ahead_stop(h->ahead);
  rocks_ahead_free(h->ahead);
  delete h;
}

class RandomAccessFile final : public rocksdb::FSRandomAccessFile {
public:
  RandomAccessFile(const std::string &path, bool direct, rocks_reader_t *r)
      : path_(path), direct_(direct), r_(r) {}
  ~RandomAccessFile() override { rocks_reader_close(r_); }

  IOStatus Read(uint64_t offset, size_t sz, const IOOptions &, Slice *result, char *scratch,
                IODebugContext *) const override {
    int64_t got = rocks_reader_read(r_, offset, scratch, sz);
    *result = Slice(scratch, got > 0 ? static_cast<size_t>(got) : 0);
    return Status("reading", path_, got);
  }
  IOStatus MultiRead(FSReadRequest *requests, size_t cnt, const IOOptions &,
                     IODebugContext *) override {
    std::vector<rocks_read_t> reads(cnt);
    for (size_t i = 0; i < cnt; i++)
      reads[i] = {requests[i].offset, requests[i].len, requests[i].scratch, 0};
    rocks_reader_read_many(r_, reads.data(), cnt);
    for (size_t i = 0; i < cnt; i++) {
      int64_t got = reads[i].result;
      requests[i].status = Status("reading", path_, got);
      requests[i].result = Slice(requests[i].scratch, got > 0 ? static_cast<size_t>(got) : 0);
    }
    return IOStatus::OK();
  }
  IOStatus ReadAsync(FSReadRequest &request, const IOOptions &,
                     std::function<void(const FSReadRequest &, void *)> done, void *arg,
                     void **handle, rocksdb::IOHandleDeleter *deleter, IODebugContext *) override {
    rocks_ahead_t *ahead;
    int rc = rocks_ahead_begin(r_, request.offset, request.scratch, request.len, &ahead);
    if (rc) return Status("reading", path_, rc);
    Handle *h = new Handle{path_, ahead, FSReadRequest(), std::move(done), arg, false};
    h->request.offset = request.offset;
    h->request.len = request.len;
    h->request.scratch = request.scratch;
    *handle = h;
    *deleter = DeleteHandle;
    return IOStatus::OK();
  }
  IOStatus Prefetch(uint64_t offset, size_t sz, const IOOptions &, IODebugContext *) override {
    return Status("reading ahead", path_, rocks_reader_will_need(r_, offset, sz));
  }
  void Hint(AccessPattern pattern) override {
    int advice = POSIX_FADV_NORMAL;
    if (pattern == kRandom) advice = POSIX_FADV_RANDOM;
    if (pattern == kSequential) advice = POSIX_FADV_SEQUENTIAL;
    if (pattern == kWillNeed) advice = POSIX_FADV_WILLNEED;
    if (pattern == kWontNeed) advice = POSIX_FADV_DONTNEED;
    rocks_reader_advise(r_, advice);
  }
  IOStatus InvalidateCache(size_t offset, size_t sz) override {
    return Status("dropping", path_, rocks_reader_drop_cache(r_, offset, sz));
  }
  bool use_direct_io() const override { return direct_; }

private:
  std::string path_;
  bool direct_;
  rocks_reader_t *r_;
};

class SequentialFile : public rocksdb::FSSequentialFile {
public:
  SequentialFile(const std::string &path, bool direct, rocks_reader_t *r)
      : path_(path), direct_(direct), r_(r) {}
  ~SequentialFile() override { rocks_reader_close(r_); }

  IOStatus Read(size_t sz, const IOOptions &o, Slice *result, char *scratch,
                IODebugContext *dbg) override {
    IOStatus s = PositionedRead(at_, sz, o, result, scratch, dbg);
    at_ += result->size();
    return s;
  }
  IOStatus PositionedRead(uint64_t offset, size_t sz, const IOOptions &, Slice *result,
                          char *scratch, IODebugContext *) override {
    int64_t got = rocks_reader_read(r_, offset, scratch, sz);
    *result = Slice(scratch, got > 0 ? static_cast<size_t>(got) : 0);
    return Status("reading", path_, got);
  }
  IOStatus Skip(uint64_t sz) override {
    at_ += sz;
    return IOStatus::OK();
  }
  IOStatus InvalidateCache(size_t offset, size_t sz) override {
    return Status("dropping", path_, rocks_reader_drop_cache(r_, offset, sz));
  }
  bool use_direct_io() const override { return direct_; }

protected:
  std::string path_;
  bool direct_;
  rocks_reader_t *r_;
  uint64_t at_ = 0;
};

/* A log, as recovery reads it. Where recovery thinks that it ends, the rest is given up: so what
   does not bear out its checksums is read until two readings in a row are the same. */
class LogFile final : public SequentialFile {
public:
  LogFile(const std::string &path, rocks_reader_t *r, rocks_stream_t *stream)
      : SequentialFile(path, false, r), stream_(stream) {}
  ~LogFile() override {
    if (stream_) rocks_stream_close(stream_);
  }
  IOStatus Read(size_t sz, const IOOptions &, Slice *result, char *scratch,
                IODebugContext *) override {
    int64_t got = stream_ ? Take(sz, scratch) : rocks_reader_read(r_, at_, scratch, sz);
    if (at_ % ROCKS_LOG_BLOCK_SZ || got != ROCKS_LOG_BLOCK_SZ || !rocks_log_block_whole(scratch))
      got = Confirm(sz, scratch, got);
    *result = Slice(scratch, got > 0 ? static_cast<size_t>(got) : 0);
    at_ += result->size();
    return Status("reading", path_, got);
  }
  IOStatus Skip(uint64_t sz) override {
    if (stream_) rocks_stream_close(stream_);
    stream_ = nullptr;
    return SequentialFile::Skip(sz);
  }

private:
  /* The next bytes of the stream. */
  int64_t Take(size_t sz, char *scratch) {
    size_t done = 0;
    while (done < sz) {
      if (!left_) {
        const void *piece;
        int64_t n = rocks_stream_next(stream_, &piece);
        if (n < 0) return n;
        if (!n) break;
        piece_ = static_cast<const char *>(piece);
        left_ = static_cast<size_t>(n);
      }
      size_t n = sz - done < left_ ? sz - done : left_;
      memcpy(scratch + done, piece_, n);
      piece_ += n;
      left_ -= n;
      done += n;
    }
    return static_cast<int64_t>(done);
  }
  int64_t Confirm(size_t sz, char *scratch, int64_t got) {
    again_.resize(sz);
    for (int tries = 0; tries < 4 && got >= 0; tries++) {
      int64_t n = rocks_reader_read(r_, at_, again_.data(), sz);
      if (n < 0) return n;
      size_t n_sz = static_cast<size_t>(n);
      if (n == got && !memcmp(scratch, again_.data(), n_sz)) return got;
      memcpy(scratch, again_.data(), n_sz);
      got = n;
    }
    return got < 0 ? got : -EIO;
  }

  rocks_stream_t *stream_; /* NULL: it is read block by block */
  const char *piece_ = nullptr;
  size_t left_ = 0;
  std::vector<char> again_;
};

class Directory final : public rocksdb::FSDirectory {
public:
  Directory(const std::string &path, int fd, rocks_io_t *io) : path_(path), fd_(fd), io_(io) {}
  ~Directory() override {
    if (fd_ >= 0) close(fd_);
  }
  IOStatus Fsync(const IOOptions &, IODebugContext *) override {
    return Status("syncing", path_, rocks_dir_sync(io_, fd_, path_.c_str()));
  }
  IOStatus Close(const IOOptions &, IODebugContext *) override {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
    return IOStatus::OK();
  }

private:
  std::string path_;
  int fd_;
  rocks_io_t *io_;
};

bool EndsWith(const std::string &s, const char *end) {
  size_t n = strlen(end);
  return s.size() >= n && !s.compare(s.size() - n, n, end);
}

rocks_class ClassOf(const std::string &path) {
  if (EndsWith(path, ".log")) return ROCKS_WAL;
  return EndsWith(path, ".sst") ? ROCKS_TABLE : ROCKS_SMALL;
}

class QuarryFileSystem final : public rocksdb::FileSystemWrapper {
public:
  QuarryFileSystem(const std::shared_ptr<rocksdb::FileSystem> &stock, rocks_io_t *io)
      : FileSystemWrapper(stock), io_(io) {}
  const char *Name() const override { return "QuarryFileSystem"; }

  IOStatus NewWritableFile(const std::string &path, const FileOptions &o,
                           std::unique_ptr<rocksdb::FSWritableFile> *result,
                           IODebugContext *) override {
    return Writable(path, o, false, result);
  }
  IOStatus ReopenWritableFile(const std::string &path, const FileOptions &o,
                              std::unique_ptr<rocksdb::FSWritableFile> *result,
                              IODebugContext *) override {
    return Writable(path, o, true, result);
  }
  IOStatus ReuseWritableFile(const std::string &path, const std::string &old, const FileOptions &o,
                             std::unique_ptr<rocksdb::FSWritableFile> *result,
                             IODebugContext *dbg) override {
    IOStatus s = RenameFile(old, path, IOOptions(), dbg);
    return s.ok() ? Writable(path, o, false, result) : s;
  }
  IOStatus NewRandomAccessFile(const std::string &path, const FileOptions &o,
                               std::unique_ptr<rocksdb::FSRandomAccessFile> *result,
                               IODebugContext *) override {
    rocks_reader_t *r;
    int rc = rocks_reader_open(io_, path.c_str(), o.use_direct_reads, &r);
    if (!rc) result->reset(new RandomAccessFile(path, o.use_direct_reads, r));
    return Status("opening", path, rc);
  }
  IOStatus NewSequentialFile(const std::string &path, const FileOptions &o,
                             std::unique_ptr<rocksdb::FSSequentialFile> *result,
                             IODebugContext *) override {
    rocks_reader_t *r;
    bool is_log = ClassOf(path) == ROCKS_WAL;
    int rc = rocks_reader_open(io_, path.c_str(), o.use_direct_reads && !is_log, &r);
    if (rc) return Status("opening", path, rc);
    if (!is_log) {
      result->reset(new SequentialFile(path, o.use_direct_reads, r));
      return IOStatus::OK();
    }
    rocks_stream_t *stream;
    if (rocks_stream_open(io_, path.c_str(), &stream)) stream = nullptr;
    result->reset(new LogFile(path, r, stream));
    return IOStatus::OK();
  }
  IOStatus NewDirectory(const std::string &path, const IOOptions &,
                        std::unique_ptr<rocksdb::FSDirectory> *result, IODebugContext *) override {
    int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return Status("opening", path, -errno);
    result->reset(new Directory(path, fd, io_));
    return IOStatus::OK();
  }

  /* An open log is longer on the disk than it is. */
  IOStatus GetFileSize(const std::string &path, const IOOptions &o, uint64_t *sz,
                       IODebugContext *dbg) override {
    if (rocks_writer_size_of(io_, path.c_str(), sz)) return IOStatus::OK();
    return target()->GetFileSize(path, o, sz, dbg);
  }
  IOStatus GetChildrenFileAttributes(const std::string &dir, const IOOptions &o,
                                     std::vector<rocksdb::FileAttributes> *result,
                                     IODebugContext *dbg) override {
    return FileSystem::GetChildrenFileAttributes(dir, o, result, dbg); /* asks GetFileSize */
  }

  IOStatus RenameFile(const std::string &from, const std::string &to, const IOOptions &o,
                      IODebugContext *dbg) override {
    if (EndsWith(to, "/CURRENT")) {
      /* It must not name a manifest whose own name a power cut can still take away. */
      std::unique_ptr<rocksdb::FSDirectory> dir;
      IOStatus s = NewDirectory(to.substr(0, to.rfind('/')), o, &dir, dbg);
      if (s.ok()) s = dir->Fsync(o, dbg);
      if (!s.ok()) return s;
    }
    return Tapped(ROCKS_TAP_RENAME, from, to.c_str(), 0,
                  [&] { return target()->RenameFile(from, to, o, dbg); });
  }
  IOStatus LinkFile(const std::string &from, const std::string &to, const IOOptions &o,
                    IODebugContext *dbg) override {
    return Tapped(ROCKS_TAP_LINK, from, to.c_str(), 0,
                  [&] { return target()->LinkFile(from, to, o, dbg); });
  }
  IOStatus DeleteFile(const std::string &path, const IOOptions &o, IODebugContext *dbg) override {
    return Tapped(ROCKS_TAP_UNLINK, path, nullptr, 0,
                  [&] { return target()->DeleteFile(path, o, dbg); });
  }
  IOStatus Truncate(const std::string &path, size_t sz, const IOOptions &o,
                    IODebugContext *dbg) override {
    return Tapped(ROCKS_TAP_TRUNCATE, path, nullptr, sz,
                  [&] { return target()->Truncate(path, sz, o, dbg); });
  }
  IOStatus CreateDir(const std::string &path, const IOOptions &o, IODebugContext *dbg) override {
    return Tapped(ROCKS_TAP_MKDIR, path, nullptr, 0,
                  [&] { return target()->CreateDir(path, o, dbg); });
  }
  IOStatus CreateDirIfMissing(const std::string &path, const IOOptions &o,
                              IODebugContext *dbg) override {
    return Tapped(ROCKS_TAP_MKDIR, path, nullptr, 0,
                  [&] { return target()->CreateDirIfMissing(path, o, dbg); });
  }
  IOStatus DeleteDir(const std::string &path, const IOOptions &o, IODebugContext *dbg) override {
    return Tapped(ROCKS_TAP_RMDIR, path, nullptr, 0,
                  [&] { return target()->DeleteDir(path, o, dbg); });
  }

  IOStatus Poll(std::vector<void *> &handles, size_t) override {
    for (void *p : handles) {
      Handle *h = static_cast<Handle *>(p);
      if (h->ended) continue;
      int64_t got = rocks_ahead_end(h->ahead);
      h->End(Status("reading ahead", h->path, got), got);
    }
    return IOStatus::OK();
  }
  IOStatus AbortIO(std::vector<void *> &handles) override {
    for (void *p : handles) {
      Handle *h = static_cast<Handle *>(p);
      if (h->ended) continue;
      rocks_ahead_stop(h->ahead);
      h->End(IOStatus::Aborted(), 0); /* RocksDB frees what it holds for the read in the callback */
    }
    return IOStatus::OK();
  }

private:
  IOStatus Writable(const std::string &path, const FileOptions &o, bool append,
                    std::unique_ptr<rocksdb::FSWritableFile> *result) {
    rocks_writer_t *w;
    int rc = rocks_writer_open(io_, path.c_str(), ClassOf(path), append, &w);
    if (!rc) result->reset(new WritableFile(path, o, w));
    return Status("opening", path, rc);
  }

  template <typename Real>
  static IOStatus Tapped(rocks_tap_kind kind, const std::string &path, const char *to,
                         uint64_t offset, Real real) {
    if (!rocks_tap) return real();
    rocks_tap_op_t op = {kind, path.c_str(), to, offset, 0, nullptr};
    int rc = rocks_tap_ask(&op);
    IOStatus s;
    if (rc > 0) {
      s = real();
      rc = s.ok() ? 0 : s.IsNoSpace() ? -ENOSPC : s.IsPathNotFound() ? -ENOENT : -EIO;
    }
    int told = rocks_tap_tell(&op, rc);
    return told == rc && !s.ok() ? s : Status("changing a name", path, told);
  }

  rocks_io_t *io_;
};

/* The registry's factories have no argument besides the name, so the name leads to the object. */
std::mutex table_lock;
std::map<std::string, rocksdb::Env *> *table;

rocksdb::Env *Find(const std::string &name, std::unique_ptr<rocksdb::Env> *, std::string *) {
  std::lock_guard<std::mutex> hold(table_lock);
  auto at = table->find(name);
  return at == table->end() ? nullptr : at->second;
}

} // namespace

struct rocks_fs {
  std::string name, option;
  std::unique_ptr<rocksdb::Env> env;
};

rocks_fs_t *rocks_fs_make(rocks_io_t *io) {
  static unsigned next;
  rocks_fs_t *fs = new rocks_fs_t;
  fs->env = rocksdb::NewCompositeEnv(
      std::make_shared<QuarryFileSystem>(rocksdb::FileSystem::Default(), io));
  std::lock_guard<std::mutex> hold(table_lock);
  if (!table) {
    table = new std::map<std::string, rocksdb::Env *>;
    rocksdb::ObjectLibrary::PatternEntry names("quarry-io", false);
    rocksdb::ObjectLibrary::Default()->AddFactory<rocksdb::Env>(names.AddNumber(":"), Find);
  }
  fs->name = "quarry-io:" + std::to_string(++next);
  fs->option = "env=" + fs->name;
  (*table)[fs->name] = fs->env.get();
  return fs;
}

void rocks_fs_free(rocks_fs_t *fs) {
  {
    std::lock_guard<std::mutex> hold(table_lock);
    table->erase(fs->name);
  }
  delete fs;
}

const char *rocks_fs_option(const rocks_fs_t *fs) { return fs->option.c_str(); }

bool rocks_fs_read_ahead(rocksdb_readoptions_t *o) {
  /* The C API's struct begins with the C++ one; seen by changing a neighbour through a setter. */
  auto *options = reinterpret_cast<rocksdb::ReadOptions *>(o);
  size_t before = rocksdb_readoptions_get_readahead_size(o);
  rocksdb_readoptions_set_readahead_size(o, 0x5a5a5a);
  bool same = options->readahead_size == 0x5a5a5a;
  rocksdb_readoptions_set_readahead_size(o, before);
  if (same) options->async_io = true;
  return same;
}
