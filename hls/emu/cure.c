/* cure IN OUT: copies XRT's emulation library with one branch mended. In Debian's build of XRT 2.13
   alloc_void() drops what realloc() returns:

       call realloc; test rax,rax; jne done     where it must be: jne store-the-pointer

   so that the first message longer than the first one writes to freed memory. The place is found by
   its code, not by its address; exit code 3 if it is not there exactly once, for then this is
   another build of which nothing is known. Only a copy in the build tree is ever mended. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "read_file.h"

#define EXIT_UNKNOWN 3
#define ANY (-1)
#define OFF (-2) /* the member's offset: the same four bytes wherever it occurs */

/* store:  mov [rbx+OFF],rax; mov rax,rbp; jmp done; nop
           mov rdi,[rdi+OFF]; call realloc; test rax,rax; jne done; mov rdi,[rbx+OFF]; ... */
static const int16_t pattern[] = {0x48, 0x89, 0x83, OFF,  OFF,  OFF,  OFF,  0x48, 0x89, 0xe8,
                                  0xeb, ANY,  0x0f, 0x1f, 0x40, 0x00, 0x48, 0x8b, 0xbf, OFF,
                                  OFF,  OFF,  OFF,  0xe8, ANY,  ANY,  ANY,  ANY,  0x48, 0x85,
                                  0xc0, 0x75, 0xe6, 0x48, 0x8b, 0xbb, OFF,  OFF,  OFF,  OFF};
#define PATTERN_CNT (sizeof pattern / sizeof *pattern)
#define OFF_AT 3u     /* where the offset stands first */
#define BRANCH_AT 32u /* the branch's distance */
#define TO_STORE 0xdfu

_Static_assert(BRANCH_AT + 1 - 33 == 0 && (uint8_t)(0 - 33) == TO_STORE,
               "from behind the branch back to the start of the pattern");

static int matches(const uint8_t *p) {
  size_t off_idx = 0;
  for (size_t i = 0; i < PATTERN_CNT; i++) {
    if (pattern[i] == OFF) {
      if (p[i] != p[OFF_AT + off_idx % 4]) return 0;
      off_idx++;
    } else if (pattern[i] != ANY && p[i] != pattern[i]) {
      return 0;
    }
  }
  return 1;
}

int main(int argc, char **argv) {
  size_t sz, found = 0, at = 0;
  uint8_t *p = argc == 3 ? read_file(argv[1], &sz) : NULL;
  if (!p) {
    fprintf(stderr, "usage: cure IN OUT, and IN must be readable\n");
    return 2;
  }
  for (size_t i = 0; i + PATTERN_CNT <= sz; i++) {
    if (p[i] != pattern[0] || !matches(p + i)) continue;
    at = i;
    found++;
  }
  if (found != 1) {
    fprintf(stderr, "%s: the code to mend is there %zu times, not once\n", argv[1], found);
    free(p);
    return EXIT_UNKNOWN;
  }
  p[at + BRANCH_AT] = TO_STORE;
  FILE *f = fopen(argv[2], "wbe");
  int ok = f && fwrite(p, 1, sz, f) == sz;
  if (f && fclose(f)) ok = 0;
  if (!ok) perror(argv[2]);
  free(p);
  return ok ? 0 : 1;
}
