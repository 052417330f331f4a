"""The machinery of the plug-in host: finding plug-ins, admitting them, keeping what they register."""
