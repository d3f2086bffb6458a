/* Checks of a block's body against its header that need neither state nor execution. */
#ifndef QR_CHAIN_BODY_H
#define QR_CHAIN_BODY_H

#include "chain/params.h"
#include "wire/block.h"

/* In this order: SIZE (not K steps or not L actions), TX_ROOT, TRACE_ROOT (also if the last c is
   not the header's trace_last), ACTIONS_ROOT, ACTIONS (an action the task does not have). OK
   otherwise. */
enum qr_verdict qr_body_check(const qr_chain_cfg_t *cfg, const qr_header_t *h,
                              const qr_body_t *b) QR_WARN_UNUSED;

#endif
