/* What a card is asked before it gets work: one training step of every program, on made-up data,
   with the answer by the reference. */
#ifndef QR_XRT_QUESTION_H
#define QR_XRT_QUESTION_H

#include "card.h"

/* Cost: one step of the reference. Returns 0 or QR_ERR_NOMEM. */
int qr_xrt_question_make(qr_xrt_question_t *q, const qr_net_t *net, const qr_step_prog_t *prog,
                         uint32_t number) QR_WARN_UNUSED;
void qr_xrt_question_free(qr_xrt_question_t *q);

#endif
