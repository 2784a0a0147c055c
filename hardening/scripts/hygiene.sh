#!/usr/bin/env bash
# What a build leaves behind and an image must not carry into every instance. The last step of a build, never for a host
# at work.
# Rules: hygiene-* of rules/hygiene.yaml. Parameters: hygiene_allowed_keys.
#
# It removes what no instance can need. What somebody may have put there on purpose is only told: private keys and
# secrets in files, a swap file in use. authorized_keys stay, since they may be the way in of whoever runs this build;
# Image Builder's own clean-up takes them, as it takes host keys, machine-id and cloud-init's state. Nothing of the
# running AWSTOE (TOE_*, imagebuilder_service) and of the running SSM agent is touched: what is older than the machine,
# which is as old as its machine-id, is not theirs. Logs are emptied, with their modes, and rotated ones removed; the
# audit log is auditd's, and goes with Image Builder's clean-up.
# shellcheck disable=SC2154  # the parameters
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

histories=(.bash_history .zsh_history .sh_history .ash_history .history .local/share/fish/fish_history .lesshst .viminfo .wget-hsts
	.python_history .node_repl_history .irb_history .mysql_history .psql_history .rediscli_history .sqlite_history .mongo_history .dbshell
	.mongodb/mongosh/mongosh_repl_history)
credentials=(.aws/credentials .netrc .git-credentials .pypirc .pgpass .s3cfg .boto .vault-token .azure/accessTokens.json
	.azure/msal_token_cache.json .config/gcloud/credentials.db .config/gcloud/application_default_credentials.json .config/gh/hosts.yml
	.terraform.d/credentials.tfrc.json)
clients=(.docker/config.json .config/containers/auth.json .npmrc .pip/pip.conf .config/pip/pip.conf .my.cnf .kube/config .m2/settings.xml)
login='"auth"[[:space:]]*:|_(authToken|auth|password)[[:space:]]*=|^[[:space:]]*"?(password|token|client-key-data)"?[[:space:]]*[:=]|//[^/@[:space:]]+:[^/@[:space:]]+@|<password>'
caches=(.pytest_cache .tox .nox .mypy_cache .ruff_cache .hypothesis)
agent=/opt/aws/amazon-cloudwatch-agent
born=/etc/machine-id

homes() { # of every account: programs that run as one leave histories too
	cut -d: -f6 /etc/passwd | sort -u | while IFS= read -r home; do
		if [[ $home == /* && -d $home ]]; then printf '%s\n' "${home%/}"; fi
	done
}

in_homes() { # NAME…: those of the names that are files with something in them, in any home
	local home name
	while IFS= read -r home; do
		for name in "$@"; do
			if [[ -s $home/$name && -f $home/$name ]]; then printf '%s\n' "$home/$name"; fi
		done
	done < <(homes)
}

stored_logins() { # clients of registries and databases: a file with a password, not one that names a helper; and AWS's cached tokens
	local file home
	while IFS= read -r file; do
		if grep -qE -e "$login" -- "$file"; then printf '%s\n' "$file"; fi
	done < <(in_homes "${clients[@]}")
	while IFS= read -r home; do
		within "$home/.aws" : -type f -path '*/cache/*.json' -size +0
	done < <(homes)
}

within() { # FOLDER… : TEST…: find in those of the folders that exist; what is not there holds nothing
	local folders=()
	while [[ $1 != : ]]; do
		if [[ -e $1 ]]; then folders+=("$1"); fi
		shift
	done
	shift
	((${#folders[@]} == 0)) || find "${folders[@]}" -xdev -ignore_readdir_race "$@" -print
}

residue() { # scripts, archives, packages and keys in the temporary folders
	find /tmp /var/tmp -xdev -maxdepth 2 \( -name 'TOE_*' -o -name imagebuilder_service -o -name 'systemd-private-*' -o -name '.*-unix' \) -prune -o \
		-type f \( -name '*.sh' -o -name '*.py' -o -name '*.rpm' -o -name '*.tar' -o -name '*.tar.*' -o -name '*.tgz' -o -name '*.zip' \
		-o -name '*.pem' -o -name '*.key' -o -name '*.ppk' \) -print
}

cached_packages() {
	within /var/cache /root : -type f -name '*.rpm'
}

dumps() {
	within /var/lib/systemd/coredump /var/crash /var/spool/abrt : -type f
	within / /tmp /var/tmp /root : -maxdepth 1 -type f \( -name 'core.[0-9]*' -o -name core \)
}

mails() {
	local queue=/var/spool/postfix
	within /var/spool/mail /var/spool/mqueue /var/spool/clientmqueue "$queue"/{active,bounce,corrupt,defer,deferred,hold,incoming,maildrop} : \
		-type f -size +0
}

device_names() { # rules of udev, and network cards that are known by their address
	local file
	within /etc/udev/rules.d : -maxdepth 1 -type f -name '70-persistent-*.rules'
	for file in /etc/sysconfig/network-scripts/ifcfg-* /etc/systemd/network/*.network /etc/NetworkManager/system-connections/*; do
		if [[ -f $file ]] && grep -qiE '^[[:space:]]*(HWADDR|MACADDR|(Permanent)?MACAddress|mac-address)[[:space:]]*=' -- "$file"; then
			printf '%s\n' "$file"
		fi
	done
}

rotated_logs() {
	within /var/log "$agent/logs" : -path /var/log/journal -prune -o -type f \( -name '*-20[0-9][0-9][01][0-9][0-3][0-9]*' -o -name '*.[0-9]' \
		-o -name '*.[0-9][0-9]' -o -name '*.gz' -o -name '*.xz' -o -name '*.bz2' -o -name '*.zst' -o -name '*.old' \)
}

foreign_journals() { # of another machine-id
	within /var/log/journal : -mindepth 2 -type f ! -path "/var/log/journal/$(cat "$born")/*"
}

login_records() { # log-ins, and refused ones, of before the machine
	local file start
	start=$(stat -c %Y "$born")
	for file in /var/log/wtmp /var/log/btmp; do
		[[ -s $file ]] || continue
		last -w --time-format iso -f "$file" | awk '$1 != "reboot" && $1 != "shutdown" && $1 != "runlevel" &&
			match($0, /[0-9]+-[0-9][0-9]-[0-9][0-9]T[0-9:]+[+-][0-9:]+/) { print $1, substr($0, RSTART, RLENGTH) }' | while read -r name when; do
			if (($(date -d "$when" +%s) < start)); then printf '%s %s %s\n' "$file" "$name" "$when"; fi
		done
	done
}

build_logs() {
	within /tmp /var/tmp /root /home /opt /var/lib/amazon : -maxdepth 3 \
		\( \( -name 'TOE_*' -o -name imagebuilder_service \) ! -newer "$born" -o -name 'packer-*' -o -path '*/.ansible/tmp' -o -name .ansible_async \) -prune
}

installer_files() {
	within /root : -maxdepth 1 -type f \( -name '*-ks.cfg' -o -name 'ks-*' -o -name 'install.log*' \)
	within /var/log/anaconda : -type f
}

registration() {
	within /var/lib/amazon/ssm : -maxdepth 3 \( -path '*/ssm/registration' -o -path '*/Vault/Store/RegistrationKey' -o -name 'mi-*' \
		-o -path '*/Vault/Store/EC2RegistrationKey' ! -newer "$born" \) -prune
}

agent_state() { # of an agent that runs, only what is older than the machine
	if is_booted && systemctl -q is-active amazon-cloudwatch-agent.service; then
		within "$agent/logs" "$agent/var" : -type f -size +0 ! -newer "$born"
	else
		within "$agent/logs" "$agent/var" : -type f -size +0
	fi
}

test_tools() { # a virtual environment in a home may be the application's; root's and the temporary ones are not
	local tests=() name
	for name in "${caches[@]}"; do tests+=(-name "$name" -o); done
	within /root /tmp /var/tmp : -mindepth 2 -maxdepth 5 -name pyvenv.cfg | while IFS= read -r name; do dirname -- "$name"; done
	within /root /home /opt /tmp /var/tmp : -maxdepth 6 -type d \( "${tests[@]}" -path '*/.cache/pip' -o -path '*/.cache/uv' -o -path '*/.cache/pipenv' \
		-o -path '*/.cache/pypoetry' -o -path '*/.npm/_cacache' \) -prune
}

other_instances() { # cloud-init's, with their user data
	local now
	now=$(readlink /var/lib/cloud/instance || :)
	within /var/lib/cloud/instances : -mindepth 1 -maxdepth 1 ! -name "${now##*/}"
}

seeds() {
	within /var/lib/cloud/seed : -type f
}

host_keys() {
	# In whole seconds, which is all that an archive of the image keeps.
	within /etc/ssh : -maxdepth 1 -type f -name 'ssh_host_*_key' ! -newermt "@$(($(stat -c %Y "$born") - 1))"
}

identity() {
	local id=/var/lib/dbus/machine-id
	within /var/lib/dhclient /var/lib/dhcp /var/lib/NetworkManager : -type f \( -name '*.lease*' -o -name secret_key \) ! -newer "$born"
	within /var/lib/systemd/random-seed : ! -newer "$born"
	within /etc : -maxdepth 1 -type f \( -name 'resolv.conf.predhclient*' -o -name 'resolv.conf.bak*' -o -name 'resolv.conf.save*' \)
	if ! grep -qF ' /etc/hostname ' /proc/self/mountinfo && ! grep -qsE '^[[:space:]]*localhost' /etc/hostname; then
		within /etc/hostname : -type f -size +0 ! -newer "$born"
	fi
	if [[ -f $id && ! -L $id && -s $id ]] && ! cmp -s -- "$id" "$born"; then printf '%s\n' "$id"; fi
}

swap_files() { # the smallest one has ten pages
	within / /var /mnt /home /opt /tmp /var/tmp /root : -maxdepth 1 -type f -size +39k -iname '*swap*'
}

package_files() {
	within /etc : -type f \( -name '*.rpmsave' -o -name '*.rpmnew' -o -name '*.rpmorig' -o -name '*~' -o -name '.*.sw[op]' \)
}

private_keys() { # anywhere people and packages put them, but for the host keys and what the baseline allows
	local file
	while IFS= read -r file; do
		case $file in /etc/ssh/ssh_host_*_key) continue ;; esac
		[[ ,${hygiene_allowed_keys// /,}, == *",$file,"* ]] || printf '%s\n' "$file"
	done < <(grep -rlIE --devices=skip -e '^-----BEGIN ([A-Z]+ )*PRIVATE KEY-----' /root /home /opt /etc 2>/dev/null || :)
}

removed() { # RULE: files and folders of standard input
	local path
	while IFS= read -r path; do
		if switched_off "$1"; then continue; fi
		rm -rf -- "$path"
		changed "$1" "$path removed"
	done
}

stale() { # those of standard input that are older than the machine
	local path
	while IFS= read -r path; do
		if [[ ! $path -nt $born ]]; then printf '%s\n' "$path"; fi
	done
}

told() { # RULE WHAT: files of standard input that are left where they are
	local file
	while IFS= read -r file; do
		note "$2: $file. It is left here; an image with it is refused ($1)"
	done
}

empty_logs() { # what every minute writes again is no change; a log keeps its mode, and whoever writes it goes on
	local file
	while IFS= read -r file; do
		: >"$file"
	done < <(within /var/log : \( -path /var/log/journal -o -path /var/log/audit -o -path /var/log/sa -o -path /var/log/amazon \) -prune -o -type f ! -name README -size +0)
	note "the logs of the build are emptied"
}

remove_swap() { # but for one that is in use, or that somebody wants at every boot
	local file
	while IFS= read -r file; do
		if grep -qsF -- "$file " /proc/swaps || grep -qsE "^[[:space:]]*${file}[[:space:]]" /etc/fstab; then
			told hygiene-swap-files "swap file" <<<"$file"
		else
			removed hygiene-swap-files <<<"$file"
		fi
	done < <(swap_files)
}

apply() {
	removed hygiene-shell-history < <(in_homes "${histories[@]}")
	removed hygiene-known-hosts < <(in_homes .ssh/known_hosts .ssh/known_hosts.old)
	removed hygiene-credentials < <(
		in_homes "${credentials[@]}"
		stored_logins
	)
	removed hygiene-test-tools < <(test_tools)
	removed hygiene-build-logs < <(build_logs)
	removed hygiene-temporary-files < <(residue)
	removed hygiene-package-cache < <(cached_packages)
	removed hygiene-package-files < <(package_files)
	removed hygiene-core-dumps < <(dumps)
	removed hygiene-mail < <(mails)
	removed hygiene-device-names < <(device_names)
	removed hygiene-installer-files < <(installer_files)
	removed hygiene-agent-state < <(agent_state)
	removed hygiene-rotated-logs < <(
		rotated_logs
		foreign_journals
	)
	removed hygiene-ssm-registration < <(registration | stale)
	removed hygiene-cloud-init < <(other_instances)
	removed hygiene-identity < <(identity)
	remove_swap
	switched_off hygiene-login-records || empty_logs
	# What the package manager knows of the repositories is as old as the build, and is fetched again by every use of it.
	rm -rf -- /var/cache/yum/* /var/cache/dnf/*
	note "the package manager's metadata is removed"
	told hygiene-private-keys "private key" < <(private_keys)
	told hygiene-ssm-registration "registration" < <(registration)
	told hygiene-cloud-init "seed of cloud-init" < <(seeds)
	told hygiene-host-keys "host key" < <(host_keys)
}

nothing() { # RULE FILES
	verdict "$1" "" "${2//$'\n'/ }"
}

check() {
	nothing hygiene-shell-history "$(in_homes "${histories[@]}")"
	nothing hygiene-known-hosts "$(in_homes .ssh/known_hosts .ssh/known_hosts.old)"
	nothing hygiene-credentials "$(in_homes "${credentials[@]}")$(stored_logins)"
	nothing hygiene-test-tools "$(test_tools)"
	nothing hygiene-build-logs "$(build_logs)"
	nothing hygiene-temporary-files "$(residue)"
	nothing hygiene-package-cache "$(cached_packages)"
	nothing hygiene-package-files "$(package_files)"
	nothing hygiene-core-dumps "$(dumps)"
	nothing hygiene-mail "$(mails)"
	nothing hygiene-device-names "$(device_names)"
	nothing hygiene-installer-files "$(installer_files)"
	nothing hygiene-agent-state "$(agent_state)"
	nothing hygiene-rotated-logs "$(rotated_logs | stale)$(foreign_journals)"
	nothing hygiene-login-records "$(login_records)"
	nothing hygiene-ssm-registration "$(registration)"
	nothing hygiene-cloud-init "$(other_instances)$(seeds)"
	nothing hygiene-host-keys "$(host_keys)"
	nothing hygiene-identity "$(identity)"
	nothing hygiene-swap-files "$(swap_files)"
	nothing hygiene-private-keys "$(private_keys)"
}

isms_main "$@"
