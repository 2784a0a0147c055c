#!/usr/bin/env bash
# Whose an instance is. Rules: site-asset-file, site-asset-mode. Parameter: site_asset_owner.
# shellcheck disable=SC2154  # the parameter
# shellcheck disable=SC1091  # lib.sh lies beside it on the image
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

apply() {
	[[ -e /etc/asset ]] || place site-asset-file "$isms_files/asset/asset" /etc/asset 0644
	assign site-asset-file /etc/asset owner "$site_asset_owner" =
	own site-asset-mode /etc/asset 0640 root root
}

check() {
	verdict site-asset-file "$site_asset_owner" "$(active_value /etc/asset owner)"
	verdict site-asset-mode '640 root root' "$(stat -c '%a %U %G' /etc/asset)"
}

isms_main "$@"
