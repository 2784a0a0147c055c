"""What EC2 Image Builder removes before its snapshot, removed here too: the image must come up again without it and hold its rules.

The list is that of the script in the service's user guide ("Security best practices", post-build clean-up); the words are ours. As there,
a file that cannot be removed ends the build.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import BuildError

if TYPE_CHECKING:
    from harness.targets.base import Target

SECONDS = 120.0

CLEAN = r"""
shopt -s nullglob
gone() { # FILE…: print what is still there afterwards; what the container's engine mounts is not the image's
  local file
  for file in "$@"; do
    if [ ! -f "$file" ] || grep -qF " $file " /proc/self/mountinfo; then continue; fi
    shred -zuf -- "$file" 2>/dev/null || rm -f -- "$file" 2>/dev/null
    [ ! -e "$file" ] || printf '%s\n' "$file"
  done
}
everything() { # FOLDER
  find "$1" -xdev -mindepth 1 ! -path "$1/systemd-private-*" -delete 2>/dev/null
  find "$1" -xdev -mindepth 1 -type f ! -path "$1/systemd-private-*" 2>/dev/null
}
gone /etc/sudoers.d/90-cloud-init-users /etc/locale.conf /var/log/cloud-init.log /var/log/cloud-init-output.log
everything /var/lib/cloud
gone /etc/.updated /etc/aliases.db /etc/hostname /var/.updated /var/lib/misc/postfix.aliasesdb-stamp /var/lib/postfix/master.lock \
  /var/spool/postfix/pid/master.pid /var/cache/yum/x86_64/2/.gpgkeyschecked.yum
gone /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys
gone /var/log/audit/audit.log /var/log/boot.log /var/log/dmesg /var/log/cron
gone /var/log/amazon/ssm/*
gone /var/log/sa/sa* /var/lib/dhclient/*.lease* /var/lib/dhcp/*.lease* /var/lib/systemd/random-seed /var/lib/rsyslog/imjournal.state
everything /var/tmp
find /var/log/journal -xdev -mindepth 1 -type f -delete 2>/dev/null
for file in /etc/machine-id /var/lib/dbus/machine-id; do
  [ ! -f "$file" ] || [ -L "$file" ] || : >"$file" || printf '%s\n' "$file"
done
sync
exit 0
"""

REMAINS = r"""
shopt -s nullglob
for file in /etc/ssh/ssh_host_*_key {/root,/home/*}/.ssh/authorized_keys* {/root,/home/*}/.*_history /etc/sudoers.d/90-cloud-init-users; do
  [ ! -s "$file" ] || printf '%s\n' "$file"
done
for file in /etc/machine-id /var/lib/dbus/machine-id; do
  [ -L "$file" ] || [ ! -s "$file" ] || printf '%s\n' "$file"
done
exit 0
"""
"""What gives an instance its identity, or lets somebody in: of this nothing may be in a snapshot."""

FIRST_BOOT = r"""
user=$(awk '/^ *default_user:/ { found = 1 } found && $1 == "name:" { print $2; exit }' /etc/cloud/cloud.cfg 2>/dev/null)
file=/etc/sudoers.d/90-cloud-init-users
if [ -n "$user" ] && [ ! -e $file ] && grep -q 'NOPASSWD:' /etc/cloud/cloud.cfg; then
  (umask 0337 && printf '# User rules for %s\n%s ALL=(ALL) NOPASSWD:ALL\n' "$user" "$user" >$file)
fi
[ -s /etc/machine-id ] || systemd-machine-id-setup >/dev/null
sed -n 's/^ACTION=="add", SUBSYSTEM=="net", RUN+="\(.*\)"$/\1/p' /etc/udev/rules.d/*.rules 2>/dev/null | while IFS= read -r line; do
  for folder in /sys/class/net/*; do ${line//\$name/${folder##*/}}; done
done
exit 0
"""
"""What others do when an instance starts: cloud-init, which finds no EC2 here, and udev, which runs in no container."""


def simulate(target: Target) -> None:
    """Clean a hardened target as Image Builder does, and start it anew, as an instance of the image would be.

    Raises BuildError when something cannot be removed, or when something is left that no snapshot may hold.
    """
    stuck = target.run(CLEAN, timeout=SECONDS).out.split()
    if stuck:
        raise BuildError(
            f"Image Builder's clean-up cannot remove {', '.join(stuck)}; it would end the build", hint="no immutable attribute, no mount"
        )
    left = target.run(REMAINS, timeout=SECONDS).out.split()
    if left:
        raise BuildError(f"the snapshot would hold {', '.join(left)}", hint="remove it at the end of the build; see the hygiene rules")
    target.restart()
    target.run(FIRST_BOOT, timeout=SECONDS)
