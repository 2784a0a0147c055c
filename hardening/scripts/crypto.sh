#!/usr/bin/env bash
# Which algorithms programs may use, and whose certificates they trust. Rules: every crypto-… rule.
# shellcheck disable=SC2154  # the parameters
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

config=/etc/crypto-policies/config
state=/etc/crypto-policies/state/current
sshd_environment=/etc/sysconfig/sshd
anchors=(/etc/pki/ca-trust/source/anchors /usr/share/pki/ca-trust-source/anchors)

# Amazon Linux 2 has no such policy; its sshd names the algorithms itself.
has_policies() { [[ -d /etc/crypto-policies ]]; }

named_policy() { # FILE: its first line that is no comment
	[[ -r $1 ]] || return 0
	sed -n -E 's/\r$//; s/^[ \t]+|[ \t]+$//g; /^(#|$)/d; p' "$1" | head -n 1
}

approved() { # POLICY: one of the approved ones, alone or with modules; a module that weakens is its own word
	local policy
	for policy in ${crypto_policies//,/ }; do
		if [[ $1 == "$policy" || $1 == "$policy:"* ]]; then
			[[ $1 == *:SHA1* || $1 == *LEGACY* ]] || return 0
		fi
	done
	return 1
}

unapproved_anchors() {
	local folder file
	for folder in "${anchors[@]}"; do
		for file in "$folder"/*; do
			[[ -f $file && ",${crypto_trust_anchors//[, ]/,}," != *",$(basename -- "$file"),"* ]] && printf '%s\n' "$file"
		done
	done
	return 0
}

apply() {
	local first new file
	if has_policies; then
		first=${crypto_policies%%[, ]*}
		if ! approved "$(named_policy "$config")"; then
			if command -v update-crypto-policies >/dev/null 2>&1; then
				update-crypto-policies --no-reload --set "$first" >/dev/null || die "update-crypto-policies refuses $first"
				changed crypto-policy "$first"
			else
				new=$(beside "$config")
				printf '%s\n' "$first" >"$new"
				chmod 0644 -- "$new"
				swap crypto-policy "$new" "$config"
			fi
		elif [[ $(named_policy "$config") != "$(named_policy "$state")" ]] && command -v update-crypto-policies >/dev/null 2>&1; then
			update-crypto-policies --no-reload >/dev/null || die "update-crypto-policies fails"
			changed crypto-policy-applied "$(named_policy "$config")"
		fi
		if [[ -e $sshd_environment ]] && grep -qE '^[[:space:]]*CRYPTO_POLICY=' -- "$sshd_environment"; then
			new=$(beside "$sshd_environment")
			sed -E '/^[ \t]*CRYPTO_POLICY=/d' "$sshd_environment" >"$new"
			swap crypto-policy-sshd "$new" "$sshd_environment"
		fi
	else
		note "no system-wide crypto policy here"
	fi
	# Whether an authority is the company's or an intruder's cannot be known here: nothing is removed, the check fails.
	while read -r file; do
		note "not approved as a certificate authority: $file"
	done < <(unapproved_anchors)
}

check() {
	local policy
	if has_policies; then
		policy=$(named_policy "$config")
		if approved "$policy"; then pass crypto-policy; else fail crypto-policy "one of $crypto_policies" "$policy"; fi
		verdict crypto-policy-applied "$policy" "$(named_policy "$state")"
		if [[ -e $sshd_environment ]]; then
			verdict crypto-policy-sshd '' "$(grep -E '^[[:space:]]*CRYPTO_POLICY=' -- "$sshd_environment" || :)"
		fi
	fi
	verdict crypto-trust-anchors '' "$(unapproved_anchors)"
}

isms_main "$@"
