"""Where bytes lie: whole files on a disk or an object store, S3 made fit for long runs, and strict JSON."""
