#!/bin/sh
# Process 1 of a host: makes what the container engine mounts read-only writable for systemd, and becomes systemd.
for mounted in /sys/fs/cgroup /sys/fs/cgroup/* /proc/sys; do
    mountpoint -q "$mounted" && mount -o remount,rw "$mounted" 2>/dev/null
done
# The engine binds these over the host's own files, so that no program in the host could replace them.
for file in /etc/hostname /etc/hosts /etc/resolv.conf; do
    cp "$file" /run/given && umount "$file" && cp /run/given "$file"
done
rm -f /run/given
# As systemd does on a machine: without it units get no LoadCredential=, whose files are mounted by another process.
mount --make-rshared /
# Not in the root file system, so that no image made of this host contains it.
mkdir -p /run/systemd/system.conf.d
printf '[Manager]\nDefaultEnvironment=AWS_ENDPOINT_URL=%s AWS_REGION=%s AWS_DEFAULT_REGION=%s\n' \
    "$EMBEDDED_AWS_ENDPOINT" "$EMBEDDED_AWS_REGION" "$EMBEDDED_AWS_REGION" > /run/systemd/system.conf.d/embedded-aws.conf
exec /lib/systemd/systemd
