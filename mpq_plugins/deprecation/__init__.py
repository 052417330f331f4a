"""What has got a better name: old arguments that still work for a release, old import paths that say the new one."""
