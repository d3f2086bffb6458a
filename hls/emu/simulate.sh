#!/bin/sh
# What XRT's hardware emulation starts in the folder it unpacked: the device process with its bitstream and 8 GiB of memory.
exec ./model engine.xml ./engine.so 8192
