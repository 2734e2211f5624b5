"""The reference device: its disk, its sticks, and the virtual machine in which it runs."""
