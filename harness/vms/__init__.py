"""Virtual machines: how a hardened container becomes a disk, what boots it, and how a guest of qemu is run and cleaned up."""
