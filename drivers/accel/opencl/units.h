/* Private to the driver: what quarry device shows and does. */
#ifndef QR_OCL_UNITS_H
#define QR_OCL_UNITS_H

#include "opencl.h"

/* Counts a job that has finished. */
void qr_ocl_count_job(qr_accel_t *a, const qr_accel_job_t *job);

/* A device that is not opened; idx: its number in the list of devices. */
void qr_ocl_unit_fill(cl_device_id id, const char *name, uint32_t idx, qr_accel_unit_t *out);

void qr_ocl_info(const qr_accel_t *a, qr_accel_info_t *out);
uint32_t qr_ocl_units(qr_accel_t *a, qr_accel_unit_t *out, uint32_t max_cnt);
void qr_ocl_judge(qr_accel_t *a, uint32_t unit, bool right);
int qr_ocl_bandwidth(qr_accel_t *a, uint32_t unit, qr_accel_bandwidth_t *out, char *why,
                     size_t why_sz);

#endif
