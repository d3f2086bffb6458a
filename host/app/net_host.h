/* What a Linux host says about its network: cards and interfaces, huge pages, IOMMU, permissions,
   processors. Read from /sys, /proc and /dev only; nothing is changed, nothing needs a privilege,
   and nothing that is read is trusted: texts are cut and unprintable bytes replaced. */
#ifndef QR_APP_NET_HOST_H
#define QR_APP_NET_HOST_H

#include "base/types.h"

#define QR_NET_NIC_MAX_CNT 64u
#define QR_NET_HUGE_MAX_CNT 4u
#define QR_NET_NAME_SZ 32u
#define QR_NET_LIST_SZ 128u

/* Who has a card or an interface. */
enum qr_net_owner {
  QR_NET_VIRTUAL, /* the kernel's own: veth, bridge, tap, loopback */
  QR_NET_KERNEL,  /* a card with a kernel driver */
  QR_NET_SHARED,  /* mlx5 and mlx4: DPDK drives it beside the kernel's driver */
  QR_NET_USER,    /* bound to vfio-pci or another driver for user space */
  QR_NET_FREE     /* a card without a driver */
};

enum qr_net_tri { QR_NET_NO, QR_NET_YES, QR_NET_UNKNOWN };

typedef struct {
  char iface[QR_NET_NAME_SZ];  /* empty: the kernel has no interface on it */
  char pci[QR_NET_NAME_SZ];    /* empty: not a PCI device */
  char driver[QR_NET_NAME_SZ]; /* kernel driver; empty: none */
  char id[16];                 /* "vendor:device" of a PCI device */
  enum qr_net_owner owner;
  enum qr_net_tri up;        /* set up by 'ip link set .. up' */
  enum qr_net_tri link;      /* the cable, or its virtual like */
  uint32_t mtu, speed_mbps;  /* 0: not known */
  int32_t numa, iommu_group; /* -1: none */
  bool default_route;        /* the host's own traffic leaves through it */
} qr_net_nic_t;

typedef struct {
  uint64_t page_kb, reserved, free;
  char mount[QR_NET_LIST_SZ]; /* a hugetlbfs of that page size; empty: none */
} qr_net_huge_t;

enum qr_net_file { QR_NET_ABSENT, QR_NET_FORBIDDEN, QR_NET_USABLE };

/* DPDK's drivers, as files beside the library. */
enum qr_net_pmd {
  QR_NET_PMD_AF_PACKET,
  QR_NET_PMD_AF_XDP,
  QR_NET_PMD_TAP,
  QR_NET_PMD_MEMIF,
  QR_NET_PMD_VIRTIO,
  QR_NET_PMD_VHOST,
  QR_NET_PMD_MLX5,
  QR_NET_PMD_CNT
};

typedef struct {
  uint32_t nic_cnt;
  bool nic_more; /* there are more than fit */
  qr_net_nic_t nics[QR_NET_NIC_MAX_CNT];
  uint32_t huge_cnt;
  qr_net_huge_t huge[QR_NET_HUGE_MAX_CNT];
  uint32_t iommu_group_cnt;
  enum qr_net_file vfio, tun, vhost_net, uverbs;
  bool vfio_no_iommu;  /* vfio takes cards without an IOMMU */
  uint64_t memlock_kb; /* UINT64_MAX: no limit */
  uint32_t uid;
  bool own_user_ns;       /* root here is nobody outside */
  uint64_t caps;          /* effective capabilities, by number */
  enum qr_net_tri userns; /* an ordinary user may make a network of its own */
  enum qr_net_tri xdp_sockets;
  bool pmds_known; /* DPDK's drivers were found as files */
  bool pmds[QR_NET_PMD_CNT];
  char cpus_allowed[QR_NET_LIST_SZ], cpus_isolated[QR_NET_LIST_SZ], cpus_nohz[QR_NET_LIST_SZ];
  uint32_t numa_cnt;
  char root[512];
} qr_net_host_t;

#define QR_NET_CAP_NET_ADMIN 12u
#define QR_NET_CAP_NET_RAW 13u
#define QR_NET_CAP_IPC_LOCK 14u
#define QR_NET_CAP_SYS_ADMIN 21u
#define QR_NET_CAP_BPF 39u

static inline bool qr_net_has_cap(const qr_net_host_t *h, unsigned cap) {
  return h->caps >> cap & 1;
}

/* Reads the tree below root ("" for this machine). Never fails: what cannot be read is unknown or
   absent in *out. */
void qr_net_host_read(const char *root, qr_net_host_t *out);

/* A device file below the host's root, e.g. /dev/vfio/7. */
enum qr_net_file qr_net_file_state(const qr_net_host_t *h, const char *path);

/* net_host_nic.c: cards and interfaces. */
void qr_net_host_read_nics(qr_net_host_t *h);

/* net_host_file.c: reads at most sz - 1 bytes of a regular file below root; unprintable bytes but
   newlines become '?', and newlines at the end go. Returns false and "" if there is none. */
bool qr_net_read_text(const char *root, const char *path, char *out, size_t sz);
/* The same of the first line alone. */
bool qr_net_read_line(const char *root, const char *path, char *out, size_t sz);
/* The first number in a file; fallback if there is none. */
int64_t qr_net_read_num(const char *root, const char *path, int64_t fallback);
/* The last part of a symbolic link's target; false and "" if there is none or it does not fit. */
bool qr_net_read_link(const char *root, const char *path, char *out, size_t sz);
/* Calls fn for each entry of a directory but . and .., at most QR_NET_ENTRY_MAX_CNT, in no order,
   until fn returns false. Returns how many were seen. */
#define QR_NET_ENTRY_MAX_CNT 4096u
uint32_t qr_net_each(const char *root, const char *path, bool (*fn)(void *ctx, const char *name),
                     void *ctx);
/* What follows label in text, up to the line's end; false and "" if the label stands nowhere. */
bool qr_net_find_line(const char *text, const char *label, char *out, size_t sz);

#endif
