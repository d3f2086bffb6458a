#include "env/env.h"

static const qr_env_t *const envs[QR_ENV_CNT] = {
    [QR_ENV_MICROGRID] = &qr_env_microgrid,
    [QR_ENV_MICROGRID_MAP] = &qr_env_microgrid_map,
    [QR_ENV_CATCH] = &qr_env_catch,
    [QR_ENV_CARTPOLE] = &qr_env_cartpole,
};

const qr_env_t *qr_env_get(uint32_t id) { return id < QR_ENV_CNT ? envs[id] : NULL; }

const qr_env_t *qr_env_find(const char *name) {
  for (uint32_t i = 0; i < QR_ENV_CNT; i++)
    if (!strcmp(envs[i]->name, name)) return envs[i];
  return NULL;
}
