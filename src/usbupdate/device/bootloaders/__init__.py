"""One module for each boot loader, all behind `device.ports.BootLoader`."""
