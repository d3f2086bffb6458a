#!/usr/bin/env python3
"""Writes target.txt: vectors of host/chain/target.c from exact big integers, following host/chain/README.md and no C."""
import random
from fractions import Fraction

TOP = 2**256 - 1
random.seed(5)


def expand(c):
    e, m = c >> 24, c & 0xFFFFFF
    return m << 8 * (e - 3) if e >= 3 else m >> 8 * (3 - e)


def compact(v):
    e = (v.bit_length() + 7) // 8
    m = v << 8 * (3 - e) if e <= 3 else v >> 8 * (e - 3)
    if m >> 23:
        m, e = m >> 8, e + 1
    return e << 24 | m


def next_target(top, anchor, time, height, block, halflife):
    late = time - anchor - block * height
    x = abs(late) * 65536 // halflife * (1 if late >= 0 else -1)
    if x >= 0:
        return top
    x = max(x, -300 * 65536)
    s = x // 65536
    f = x - 65536 * s
    factor = 65536 + ((195766423245049 * f + 971821376 * f**2 + 5127 * f**3 + 2**47) >> 48)
    e, m = top >> 24, top & 0xFFFFFF
    return compact(max(int(Fraction(m * factor) * Fraction(2) ** (8 * (e - 3) + s - 16)), 1))


def any_number():
    return random.getrandbits(random.randrange(1, 257))


def main():
    print("# compact: number, its compact form, what that expands to")
    edges = [1, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0x7FFFFF, 0x800000, 0xFFFFFF, 0x1000000]
    for v in edges + [2**255, TOP, 0xFFFF << 240, 2**253] + [any_number() | 1 for _ in range(40)]:
        print(f"compact {v:064x} {compact(v):08x} {expand(compact(v)):064x}")
    print("# work: target, work")
    edges = [0, 1, 2, 2**64 - 1, 2**64, 2**255 - 1, 2**255, TOP - 1, TOP]
    for t in edges + [any_number() for _ in range(40)]:
        print(f"work {t:064x} {min(2**256 // (t + 1), TOP):064x}")
    print("# limit: target, work_q16, the number a ticket must be below")
    edges = [(1, 1), (1, 65535), (1, 65536), (65535, 1), (65536, 1), (TOP, 1), (TOP, 65535),
             (TOP, 65536), (TOP, 65537), (TOP, 2**32 - 1), (2**255, 131071), (2**255, 131072)]
    for t, w in edges + [(any_number(), random.getrandbits(random.randrange(1, 33))) for _ in range(40)]:
        print(f"limit {t:064x} {w} {min(t * w >> 16, TOP):064x}")
    print("# next: max_target, anchor time, parent time, parent height, block_ms, halflife_ms, target")
    u32, u64 = 2**32 - 1, 2**64 - 1
    rows = [(0x20200000, u64, 0, u64, u32, 1), (0x20200000, 0, u64, 0, 1, u32),
            (0x20200000, 0, u64, u64, 1, 1), (0x20200000, 0, u64, u64, 2, u32)]
    for top in (0x20200000, 0x2100FFFF, 0x1F400000, 0x03123456, 0x01010000, 0x1D00FFFF):
        for _ in range(12):
            anchor, block = 1735689600000, random.choice([1, 2000, 60000])
            halflife = max(block, random.choice([60000, 7200000, block, u32]))
            height = random.randrange(1, 10 ** random.randrange(2, 7))
            early = int(halflife * random.choice([0.01, 0.3, 1, 5, 100, 400]) * random.random())
            rows.append((top, anchor, max(anchor + block * height - early, 0), height, block, halflife))
    for r in rows:
        print(f"next {r[0]:08x} {r[1]} {r[2]} {r[3]} {r[4]} {r[5]} {next_target(*r):08x}")


if __name__ == "__main__":
    main()
