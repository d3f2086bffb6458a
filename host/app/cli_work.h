/* Long work of the command line: how far it is, and how it ends early. */
#ifndef QR_APP_CLI_WORK_H
#define QR_APP_CLI_WORK_H

#include "base/types.h"

#define QR_CLI_DAMAGED 3       /* exit code: looked at, and not whole */
#define QR_CLI_INTERRUPTED 130 /* exit code: ended by Ctrl-C or SIGTERM, cleanly */

enum qr_cli_unit { QR_CLI_BYTES, QR_CLI_BLOCKS, QR_CLI_SEGMENTS, QR_CLI_SECONDS };

/* From now on Ctrl-C and SIGTERM only ask. A second Ctrl-C ends the process at once. */
void qr_cli_work_begin(void);
bool qr_cli_work_stopped(void);

/* Shows on stderr how far `what` is: a bar that is redrawn if it is a terminal, a line every few
   seconds if not. Cheap when called too often. total 0: not known. */
void qr_cli_work_show(const char *what, uint64_t done, uint64_t total, enum qr_cli_unit unit);
/* While a node does something for us, which takes as long as it takes: how long it has taken. NULL:
   no more. */
void qr_cli_work_wait(const char *what);
void qr_cli_work_tick(void);
/* Takes the bar away, before anything else is printed and at the end. */
void qr_cli_work_clear(void);

/* "412.3 MB"; returns out. */
const char *qr_cli_size(uint64_t sz, char out[24]);

#endif
