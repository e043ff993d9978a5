#!/bin/sh
# Removes what must not be in an image, then looks whether it is gone. The last line is "clean", or names what is left.
# Services that would write it again are told to stop first; the builder is stopped right after this.
set -eu
export DEBIAN_FRONTEND=noninteractive

systemctl stop apt-daily.timer apt-daily-upgrade.timer unattended-upgrades.service rsyslog.service 2> /dev/null || true
apt-get clean
rm -rf /var/lib/amazon/ssm /var/log/amazon   # the agent's registration is this instance's

# Settings and secrets that cloud-init or a run would have written.
rm -f /etc/algo-trading/*.json /etc/alpaca-websocket/tokens.toml
rm -f /var/lib/systemd/credential.secret

# Identity: host keys, machine-id, seeds, network leases. cloud-init and systemd make new ones at the first boot.
rm -f /etc/ssh/ssh_host_*
truncate --size 0 /etc/machine-id
rm -f /var/lib/dbus/machine-id /var/lib/systemd/random-seed /var/lib/dhcp/*.leases
cloud-init clean --logs 2> /dev/null || rm -rf /var/lib/cloud/*
rm -rf /var/lib/cloud/instances /var/lib/cloud/instance /var/lib/cloud/data

# Logs and traces of people; the journal stays in memory from now on.
journalctl --relinquish-var 2> /dev/null || true
rm -rf /var/log/journal/*
find /var/log -type f ! -path '/var/log/journal/*' -exec truncate --size 0 {} +
find /var/log -type f \( -name '*.gz' -o -name '*.[0-9]' -o -name '*.old' \) -delete
find /root /home -xdev \( -name '.bash_history' -o -name '.python_history' -o -name '.lesshst' -o -name '.wget-hsts' \) -delete
rm -rf /root/.ansible /home/*/.ansible /root/.cache /home/*/.cache /root/.aws /home/*/.aws /var/tmp/* /tmp/ansible*
rm -f /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys

left=$(
    ls -d /etc/ssh/ssh_host_* /root/.aws /home/*/.aws /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys \
        /etc/algo-trading/*.json /etc/alpaca-websocket/tokens.toml /var/lib/cloud/instance /root/.bash_history 2> /dev/null
    find /etc/machine-id -size +0
    # Private keys that no package brought.
    grep -rlsE -e '-----BEGIN [A-Z ]*PRIVATE KEY-----' /etc /root /home /opt /srv /var/lib 2> /dev/null |
        while read -r file; do dpkg -S "$file" > /dev/null 2>&1 || echo "$file"; done
) || true
sync
# Public test keys are part of some Python packages; only those outside of site-packages count.
left=$(echo "$left" | grep -v /site-packages/ | xargs)
echo "${left:-clean}"
