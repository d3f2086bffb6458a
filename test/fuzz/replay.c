/* Runs a fuzz target on every file of the directories given, without a fuzzer. Fails if there is no
   file at all, for then nothing was tested. Each input is copied to a buffer of exactly its size,
   so that a sanitizer sees every step beyond it. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

static int replay_file(const char *path, size_t sz) {
  FILE *f = fopen(path, "rbe");
  uint8_t *data = malloc(sz ? sz : 1);
  int ok = f && data && fread(data, 1, sz, f) == sz;
  if (ok)
    LLVMFuzzerTestOneInput(data, sz);
  else
    fprintf(stderr, "replay: %s cannot be read\n", path);
  if (f) fclose(f);
  free(data);
  return ok ? 0 : -1;
}

/* Returns the number of files run, or -1. */
static long replay_dir(const char *dir) {
  struct dirent **names;
  int cnt = scandir(dir, &names, NULL, alphasort);
  long done_cnt = 0;
  if (cnt < 0) {
    fprintf(stderr, "replay: %s is no directory\n", dir);
    return -1;
  }
  for (int i = 0; i < cnt; i++) {
    char path[4096];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", dir, names[i]->d_name);
    if (done_cnt >= 0 && !stat(path, &st) && S_ISREG(st.st_mode)) {
      done_cnt = replay_file(path, (size_t)st.st_size) ? -1 : done_cnt + 1;
    }
    free(names[i]);
  }
  free(names);
  return done_cnt;
}

int main(int argc, char **argv) {
  long all_cnt = 0;
  for (int i = 1; i < argc; i++) {
    long cnt = replay_dir(argv[i]);
    if (cnt < 0) return 1;
    all_cnt += cnt;
  }
  if (!all_cnt) {
    fprintf(stderr, "replay: no input files\n");
    return 1;
  }
  printf("replayed %ld files\n", all_cnt);
  return 0;
}
