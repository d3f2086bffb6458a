/* mkxclbin sw_emu|hw_emu SO-OR-ZIP OUT.xclbin [XML]: wraps what an emulated card runs into a
   container that XRT loads, with metadata made from the engine's table of arguments. The XML is
   written too where it is asked for. mkxclbin emconfig COUNT OUT.json: describes COUNT emulated
   cards. */
#include <sodium.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xclbin.h>

#include "engine_args.h"
#include "read_file.h"

#define PLATFORM "xilinx_u55n_gen3x4_xdma_2_202110_1"
#define UNIT_CNT 2u /* compute units on an emulated card */
#define UNIT_BASE 0x1400000u
#define UNIT_STEP 0x10000u
#define BANK_KIB (8u << 20) /* 8 GiB */
#define CARD_MAX_CNT 16u
#define SECTION_CNT 5u
#define XML_MAX_SZ 16384u

/* host/port/xclbin.c reads these with offsets of its own. */
_Static_assert(offsetof(struct axlf, m_header) == 304, "xclbin layout");
_Static_assert(offsetof(struct axlf, m_sections) == 456, "xclbin layout");
_Static_assert(offsetof(struct axlf_header, m_mode) == 28, "xclbin layout");
_Static_assert(offsetof(struct axlf_header, m_platformVBNV) == 48, "xclbin layout");
_Static_assert(offsetof(struct axlf_header, uuid) == 112, "xclbin layout");
_Static_assert(offsetof(struct axlf_header, m_numSections) == 144, "xclbin layout");
_Static_assert(sizeof(struct axlf_section_header) == 40, "xclbin layout");
_Static_assert(offsetof(struct axlf_section_header, m_sectionOffset) == 24, "xclbin layout");
_Static_assert(offsetof(struct ip_layout, m_ip_data) == 8, "xclbin layout");
_Static_assert(offsetof(struct ip_data, m_name) == 16 && sizeof(struct ip_data) == 80, "layout");
_Static_assert(IP_LAYOUT == 8 && IP_KERNEL == 1 && XCLBIN_SW_EMU == 5, "xclbin numbers");

typedef struct {
  uint32_t kind;
  const void *p;
  size_t sz;
} section_t;

static int die(const char *what) {
  perror(what);
  return 1;
}

/* ---- metadata ---- */

static size_t make_xml(char *out) {
  size_t n = 0;
#define PUT(...) n += (size_t)snprintf(out + n, XML_MAX_SZ - n, __VA_ARGS__)
  PUT("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<project name=\"quarry\">\n"
      " <platform vendor=\"xilinx\" boardid=\"u55n\" name=\"gen3x4_xdma\" featureRomTime=\"0\">\n"
      "  <version major=\"2\" minor=\"0\"/>\n  <host arch=\"x86_64\"/>\n"
      "  <device name=\"fpga0\" fpgaDevice=\"virtexuplusHBM:xcu55n:fsvh2892:-2L:e\" "
      "addrWidth=\"0\">\n"
      "   <core name=\"OCL_REGION_0\" target=\"csim\" type=\"clc_region\" clockFreq=\"0MHz\" "
      "numComputeUnits=\"%u\">\n"
      "    <kernelClocks>\n     <clock port=\"KERNEL_CLK\" frequency=\"300.0MHz\"/>\n"
      "     <clock port=\"DATA_CLK\" frequency=\"300.0MHz\"/>\n    </kernelClocks>\n",
      UNIT_CNT);
  PUT("    <kernel name=\"%s\" language=\"c\" vlnv=\"xilinx.com:hls:%s:1.0\" attributes=\"\" "
      "preferredWorkGroupSizeMultiple=\"0\" workGroupSize=\"1\" interrupt=\"true\" "
      "hwControlProtocol=\"ap_ctrl_hs\">\n     <module name=\"%s\"/>\n"
      "     <port name=\"M_AXI_GMEM\" mode=\"master\" range=\"0xFFFFFFFFFFFFFFFF\" "
      "dataWidth=\"512\" portType=\"addressable\" base=\"0x0\"/>\n"
      "     <port name=\"S_AXI_CONTROL\" mode=\"slave\" range=\"0x1000\" dataWidth=\"32\" "
      "portType=\"addressable\" base=\"0x0\"/>\n",
      QR_ENGINE_KERNEL_NAME, QR_ENGINE_KERNEL_NAME, QR_ENGINE_KERNEL_NAME);
  for (uint32_t i = 0; i < QR_ENGINE_ARG_CNT; i++) {
    const qr_emu_arg_t *a = &qr_emu_engine_args[i];
    unsigned pointer = i < QR_ENGINE_POINTER_CNT, sz = pointer ? 8 : 4;
    PUT("     <arg name=\"%s\" addressQualifier=\"%u\" id=\"%u\" port=\"%s\" size=\"0x%x\" "
        "offset=\"0x%x\" hostOffset=\"0x0\" hostSize=\"0x%x\" type=\"%s\"/>\n",
        a->name, pointer, i, pointer ? "M_AXI_GMEM" : "S_AXI_CONTROL", sz, qr_engine_reg(i), sz,
        a->type);
  }
  PUT("     <compileWorkGroupSize x=\"1\" y=\"1\" z=\"1\"/>\n"
      "     <maxWorkGroupSize x=\"1\" y=\"1\" z=\"1\"/>\n");
  for (uint32_t i = 0; i < UNIT_CNT; i++)
    PUT("     <instance name=\"%s_%u\">\n      <addrRemap base=\"0x%x\" "
        "port=\"S_AXI_CONTROL\"/>\n     </instance>\n",
        QR_ENGINE_KERNEL_NAME, i + 1, UNIT_BASE + i * UNIT_STEP);
  PUT("    </kernel>\n   </core>\n  </device>\n </platform>\n</project>\n");
#undef PUT
  return n;
}

static size_t make_ip_layout(uint8_t *out) {
  struct ip_layout *l = (struct ip_layout *)out;
  l->m_count = UNIT_CNT;
  for (uint32_t i = 0; i < UNIT_CNT; i++) {
    struct ip_data *d = &l->m_ip_data[i];
    d->m_type = IP_KERNEL;
    d->properties = AP_CTRL_HS << IP_CONTROL_SHIFT;
    d->m_base_address = UNIT_BASE + i * UNIT_STEP;
    snprintf((char *)d->m_name, sizeof d->m_name, "%s:%s_%u", QR_ENGINE_KERNEL_NAME,
             QR_ENGINE_KERNEL_NAME, i + 1);
  }
  return offsetof(struct ip_layout, m_ip_data) + UNIT_CNT * sizeof(struct ip_data);
}

static size_t make_connectivity(uint8_t *out) {
  struct connectivity *c = (struct connectivity *)out;
  for (uint32_t u = 0; u < UNIT_CNT; u++) {
    for (uint32_t i = 0; i < QR_ENGINE_POINTER_CNT; i++)
      c->m_connection[c->m_count++] = (struct connection){(int32_t)i, (int32_t)u, 0};
  }
  return offsetof(struct connectivity, m_connection) +
         (size_t)c->m_count * sizeof(struct connection);
}

static size_t make_memory(uint8_t *out) {
  struct mem_topology *t = (struct mem_topology *)out;
  t->m_count = 1;
  t->m_mem_data[0] = (struct mem_data){.m_type = MEM_DDR4, .m_used = 1, .m_size = BANK_KIB};
  memcpy(t->m_mem_data[0].m_tag, "bank0", 6);
  return offsetof(struct mem_topology, m_mem_data) + sizeof(struct mem_data);
}

/* ---- the file ---- */

static int write_file(const char *path, const void *p, size_t sz) {
  FILE *f = fopen(path, "wbe");
  if (!f || fwrite(p, 1, sz, f) != sz || fclose(f)) return die(path);
  return 0;
}

static size_t align8(size_t v) { return (v + 7) / 8 * 8; }

static int write_container(const char *path, uint16_t mode, const section_t *sections) {
  size_t at = align8(offsetof(struct axlf, m_sections) +
                     SECTION_CNT * sizeof(struct axlf_section_header)),
         sz = at;
  for (uint32_t i = 0; i < SECTION_CNT; i++) sz += align8(sections[i].sz);
  struct axlf *a = calloc(1, sz);
  if (!a) return die("memory");
  for (uint32_t i = 0; i < SECTION_CNT; i++) {
    struct axlf_section_header *h = &a->m_sections[0] + i;
    h->m_sectionKind = sections[i].kind;
    h->m_sectionOffset = at;
    h->m_sectionSize = sections[i].sz;
    memcpy((uint8_t *)a + at, sections[i].p, sections[i].sz);
    at += align8(sections[i].sz);
  }
  memcpy(a->m_magic, "xclbin2", 8);
  a->m_signature_length = -1;
  memset(a->reserved, 0xff, sizeof a->reserved);
  memset(a->m_keyBlock, 0xff, sizeof a->m_keyBlock);
  a->m_header.m_length = sz;
  a->m_header.m_versionMajor = 2;
  a->m_header.m_versionMinor = 13;
  a->m_header.m_mode = mode;
  memcpy(a->m_header.m_platformVBNV, PLATFORM, sizeof PLATFORM);
  a->m_header.m_numSections = SECTION_CNT;
  /* the same contents give the same identity, so that a build can be repeated */
  crypto_generichash(a->m_header.uuid, sizeof a->m_header.uuid, (uint8_t *)a, sz, NULL, 0);
  memcpy(&a->m_uniqueId, a->m_header.uuid, sizeof a->m_uniqueId);
  int rc = write_file(path, a, sz);
  free(a);
  return rc;
}

static int make_container(int argc, char **argv) {
  static uint8_t ip[4096], connect[16384], memory[256];
  static char xml[XML_MAX_SZ];
  size_t code_sz;
  void *code = read_file(argv[2], &code_sz);
  if (!code || sodium_init() < 0) return die(argv[2]);
  const section_t sections[SECTION_CNT] = {
      {BITSTREAM, code, code_sz},
      {EMBEDDED_METADATA, xml, make_xml(xml)},
      {IP_LAYOUT, ip, make_ip_layout(ip)},
      {CONNECTIVITY, connect, make_connectivity(connect)},
      {MEM_TOPOLOGY, memory, make_memory(memory)},
  };
  uint16_t mode = !strcmp(argv[1], "hw_emu") ? XCLBIN_HW_EMU : XCLBIN_SW_EMU;
  int rc = write_container(argv[3], mode, sections);
  free(code);
  return rc || argc < 5 ? rc : write_file(argv[4], xml, strlen(xml));
}

static int make_emconfig(const char *count, const char *path) {
  unsigned long cnt = strtoul(count, NULL, 10);
  FILE *f = cnt && cnt <= CARD_MAX_CNT ? fopen(path, "we") : NULL;
  if (!f) return die(path);
  fprintf(
      f,
      "{\"Version\": {\"FileVersion\": \"2.0\", \"ToolVersion\": \"2022.1\"},\n"
      " \"Platform\": {\"Vendor\": \"xilinx\", \"BoardId\": \"u55n\", \"Name\": "
      "\"gen3x4_xdma_2_202110_1\",\n  \"UnifiedPlatform\": \"true\", \"ExpandedPR\": \"true\",\n"
      "  \"Boards\": [{\"NumBoards\": \"%lu\", \"Devices\": [{\"Name\": \"%s\",\n"
      "   \"HalMajorVersion\": \"2\", \"HalMinorVersion\": \"0\", \"VendorId\": \"4334\",\n"
      "   \"SubsystemVendorId\": \"0\", \"DeviceVersion\": \"0\", \"DataAlignment\": \"4096\",\n"
      "   \"NumDevices\": \"1\", \"OclFreqency\": \"300\", \"DdrBanks\": [{\"Size\": \"8GB\"}]\n"
      "  }]}]}}\n",
      cnt, PLATFORM);
  return fclose(f) ? die(path) : 0;
}

int main(int argc, char **argv) {
  if (argc == 4 && !strcmp(argv[1], "emconfig")) return make_emconfig(argv[2], argv[3]);
  if ((argc == 4 || argc == 5) && (!strcmp(argv[1], "sw_emu") || !strcmp(argv[1], "hw_emu")))
    return make_container(argc, argv);
  fprintf(stderr, "usage: mkxclbin sw_emu|hw_emu CODE OUT [XML], or mkxclbin emconfig COUNT OUT\n");
  return 2;
}
