#!/usr/bin/env bash
# What a build leaves behind and an image must not carry into every instance. The last step of a build, never for a host
# at work.
# Rules: hygiene-* of rules/hygiene.yaml. Parameters: hygiene_allowed_keys.
#
# It removes what no instance can need. What somebody may have put there on purpose is only told: private keys and
# secrets in files. authorized_keys stay, since they may be the way in of whoever runs this build; Image Builder's own
# clean-up takes them, as it takes host keys, machine-id and cloud-init's state. Nothing of the running AWSTOE
# (TOE_*, imagebuilder_service) and of the SSM agent is touched, and no log is deleted.
# shellcheck disable=SC2154  # the parameters
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

histories=(.bash_history .zsh_history .sh_history .history .lesshst .viminfo .python_history .mysql_history .psql_history .rediscli_history .sqlite_history)
credentials=(.aws/credentials .netrc .git-credentials .pypirc .vault-token .azure/accessTokens.json .config/gcloud/credentials.db)

homes() { # /root and the homes of people, those that exist
	local name home uid
	printf '/root\n'
	while IFS=: read -r name _ uid _ _ home _; do
		if ((uid >= 1000)) && [[ $name != nobody && $name != nfsnobody && -d $home && $home != / ]]; then printf '%s\n' "$home"; fi
	done </etc/passwd
}

in_homes() { # NAME…: those of the names that are files with something in them, in any home
	local home name
	while IFS= read -r home; do
		for name in "$@"; do
			if [[ -s $home/$name && -f $home/$name ]]; then printf '%s\n' "$home/$name"; fi
		done
	done < <(homes)
}

stored_logins() { # container registries: a file with passwords, not one that names a helper
	local file
	while IFS= read -r file; do
		if grep -q '"auth"[[:space:]]*:' -- "$file"; then printf '%s\n' "$file"; fi
	done < <(in_homes .docker/config.json .config/containers/auth.json)
}

residue() { # scripts, archives, packages and keys in the temporary folders
	find /tmp /var/tmp -xdev -maxdepth 2 \( -name 'TOE_*' -o -name imagebuilder_service -o -name 'systemd-private-*' -o -name '.*-unix' \) -prune -o \
		-type f \( -name '*.sh' -o -name '*.py' -o -name '*.rpm' -o -name '*.tar' -o -name '*.tar.*' -o -name '*.tgz' -o -name '*.zip' \
		-o -name '*.pem' -o -name '*.key' -o -name '*.ppk' \) -print
}

cached_packages() {
	find /var/cache /root -xdev -type f -name '*.rpm' -print 2>/dev/null
}

dumps() {
	find /var/lib/systemd/coredump /var/crash -xdev -type f -print 2>/dev/null || :
	find / /tmp /var/tmp /root -xdev -maxdepth 1 -type f \( -name 'core.[0-9]*' -o -name core \) -print 2>/dev/null || :
}

mails() {
	find /var/spool/mail /var/mail -xdev -type f -size +0 -print 2>/dev/null | sort -u || :
}

device_names() {
	find /etc/udev/rules.d -maxdepth 1 -type f -name '70-persistent-*.rules' -print 2>/dev/null || :
}

private_keys() { # anywhere people and packages put them, but for the host keys and what the baseline allows
	local file
	while IFS= read -r file; do
		case $file in /etc/ssh/ssh_host_*_key) continue ;; esac
		[[ ,${hygiene_allowed_keys// /,}, == *",$file,"* ]] || printf '%s\n' "$file"
	done < <(grep -rlIE --devices=skip -e '^-----BEGIN ([A-Z]+ )*PRIVATE KEY-----' /root /home /opt /etc 2>/dev/null || :)
}

removed() { # RULE: files of standard input
	local file
	while IFS= read -r file; do
		rm -f -- "$file"
		changed "$1" "$file removed"
	done
}

apply() {
	local file
	removed hygiene-shell-history < <(in_homes "${histories[@]}")
	removed hygiene-known-hosts < <(in_homes .ssh/known_hosts .ssh/known_hosts.old)
	removed hygiene-credentials < <(
		in_homes "${credentials[@]}"
		stored_logins
	)
	removed hygiene-temporary-files < <(residue)
	removed hygiene-package-cache < <(cached_packages)
	removed hygiene-core-dumps < <(dumps)
	removed hygiene-mail < <(mails)
	removed hygiene-device-names < <(device_names)
	# What the package manager knows of the repositories is as old as the build, and is fetched again by every use of it.
	rm -rf -- /var/cache/yum/* /var/cache/dnf/*
	note "the package manager's metadata is removed"
	while IFS= read -r file; do
		note "private key: $file. It is left here; an image with it is refused (hygiene-private-keys)"
	done < <(private_keys)
}

nothing() { # RULE FILES
	verdict "$1" "" "${2//$'\n'/ }"
}

check() {
	nothing hygiene-shell-history "$(in_homes "${histories[@]}")"
	nothing hygiene-known-hosts "$(in_homes .ssh/known_hosts .ssh/known_hosts.old)"
	nothing hygiene-credentials "$(in_homes "${credentials[@]}")$(stored_logins)"
	nothing hygiene-temporary-files "$(residue)"
	nothing hygiene-package-cache "$(cached_packages)"
	nothing hygiene-core-dumps "$(dumps)"
	nothing hygiene-mail "$(mails)"
	nothing hygiene-device-names "$(device_names)"
	nothing hygiene-private-keys "$(private_keys)"
}

isms_main "$@"
