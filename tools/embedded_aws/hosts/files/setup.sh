#!/bin/sh
# Run by mmdebstrap over the new root, $1: what a fresh host of AWS has, and what a container cannot do left out.
set -eu
root=$1
here=$(dirname "$0")
: > "$root/etc/machine-id"
for unit in systemd-udevd.service systemd-udev-trigger.service systemd-logind.service getty.target console-getty.service \
    systemd-firstboot.service systemd-resolved.service systemd-networkd.service systemd-timesyncd.service \
    apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer ssh.socket; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
install -m 0644 "$here/amazon-ssm-agent.service" "$root/etc/systemd/system/"
ln -sf /etc/systemd/system/amazon-ssm-agent.service "$root/etc/systemd/system/multi-user.target.wants/"
install -m 0644 "$here/cloud.cfg" "$root/etc/cloud/cloud.cfg.d/99_embedded_aws.cfg"
# A container has no DMI that says Amazon EC2, and no network left to set up by DHCP.
source=$root/usr/lib/python3/dist-packages/cloudinit/sources/DataSourceEc2.py
sed -i 's/^def identify_aws(data):$/&\n    return CloudNames.AWS  # the embedded AWS/; s/perform_dhcp_setup = True/perform_dhcp_setup = False/' "$source"
grep -q 'return CloudNames.AWS  # the embedded AWS' "$source"
for certificate in /usr/local/share/ca-certificates/*.crt; do
    [ ! -e "$certificate" ] || cp "$certificate" "$root/usr/local/share/ca-certificates/"
done
chroot "$root" update-ca-certificates > /dev/null
printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' > "$root/etc/pip.conf"
rm -f "$root"/etc/ssh/ssh_host_*_key* "$root/etc/hostname"
rm -rf "$root"/var/cache/apt/*.bin "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/locale/*
