source "container" "al2" {
  baseline = "al2"
  image    = "public.ecr.aws/amazonlinux/amazonlinux:2"
}

site {
  folder = "./site"
}

baseline "al2" {
  editions = ["isms-p", "kisa-unix-2026"]

  off "filesystem-crontab" {
    reason = "The agent of the job scheduler reads this file as a user of its own."
  }
}

build "golden" {
  sources = ["source.container.al2"]

  component "isms_security_hardening" {}
  component "cloudwatch_agent_config" {}
  component "site_hardening" {
    parameters = { site_asset_owner = "payments" }
  }
}
