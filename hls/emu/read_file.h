/* For the tools beside this file, which make what an emulated card needs: a file as a whole. */
#ifndef EMU_READ_FILE_H
#define EMU_READ_FILE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Its bytes, to be freed, and their number; NULL if it cannot be read or is empty. */
static inline uint8_t *read_file(const char *path, size_t *sz) {
  FILE *f = fopen(path, "rbe");
  long n = f && !fseek(f, 0, SEEK_END) ? ftell(f) : -1;
  uint8_t *p = n > 0 ? malloc((size_t)n) : NULL;
  *sz = (size_t)n;
  if (p) rewind(f);
  if (p && fread(p, 1, *sz, f) != *sz) {
    free(p);
    p = NULL;
  }
  if (f) fclose(f);
  return p;
}

#endif
