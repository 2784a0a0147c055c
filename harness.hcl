# Example and default configuration of harness. It is used as it is where a folder has none of its own;
# `harness init` writes a copy to change.
#
# Values of variables, later ones winning: the default here, HARNESS_VAR_name in the environment, terraform.tfvars,
# *.auto.tfvars by name, --var-file, --var.

variable "aws_region" {
  type        = string
  default     = "ap-northeast-2"
  description = "Region in which EC2 Image Builder works."
}

variable "project_name" {
  type        = string
  default     = "isms-golden-ami"
  description = "Begins the name of everything that is made in AWS."
}

variable "environment" {
  type    = string
  default = "prod"
}

variable "vpc_id" {
  type        = string
  default     = ""
  description = "VPC of the build instance; needed to publish."
}

variable "subnet_id" {
  type        = string
  default     = ""
  description = "Private subnet of the build instance; needed to publish."
}

variable "kms_key_id" {
  type        = string
  default     = ""
  description = "ARN of the key that encrypts the AMI; empty: the account's default key, which cannot be shared."
}

variable "instance_types" {
  type        = list(string)
  default     = ["t3.medium", "t3.large"]
  description = "Tried in this order."
}

variable "allowed_principals" {
  type        = list(string)
  default     = []
  description = "Account ids that may launch the AMI, or ARNs of an organization or an organizational unit."
}

# What hardening starts from. `harness verify --target al2` picks one.
source "container" "al2" {
  baseline = "al2"
  image    = "public.ecr.aws/amazonlinux/amazonlinux:2"
}

source "container" "al2023" {
  baseline = "al2023"
  image    = "public.ecr.aws/amazonlinux/amazonlinux:2023"
}

# What is done to them. The two components come with harness; one of your own has `source = "./components/name.yml"`.
build "golden" {
  sources = ["source.container.al2", "source.container.al2023"]

  component "isms_security_hardening" {
    parameters = {
      ssh_max_auth_tries = 3
    }
  }

  component "cloudwatch_agent_config" {}
}

# Rules, scripts and suites of your own (`site-…`), without a fork; see docs/adding-a-rule.md.
#
# site {
#   folder = "./site"
# }
#
# What a baseline leaves out, always with a reason that reports print, and whose controls a run answers (left out: every edition).
#
# baseline "al2" {
#   editions = ["isms-p", "kisa-unix-2026", "kisa-unix-2021"]
#
#   off "filesystem-crontab" {
#     reason = "The agent of the job scheduler reads this file as a user of its own."
#   }
# }

# What evidence must be like before anything is published; `harness gate` says whether it is, with every reason.
gate {
  block         = ["high", "medium", "low"] # severities whose `fail` closes it; an `error` always does
  max_age_hours = 168
  targets       = ["al2", "al2023"] # sources that need evidence; left out: every source that a build hardens
  signature     = "required"        # or "optional"
  keys          = []                # trusted public keys: ["./evidence-key.pub"], or "awskms:" and a key's id
  environments  = []                # ["vm"]: only evidence of `harness verify --vm` counts
  allow_standin = false             # true for a rehearsal without a registry
}

# Where the verified build goes.
publish "imagebuilder" {
  aws_region         = var.aws_region
  project_name       = var.project_name
  environment        = var.environment
  vpc_id             = var.vpc_id
  subnet_id          = var.subnet_id
  kms_key_id         = var.kms_key_id
  instance_types     = var.instance_types
  allowed_principals = var.allowed_principals

  # Sundays at 2 in the morning, Korean time, if something changed since the last build.
  schedule {
    expression      = "cron(0 2 ? * sun *)"
    timezone        = "Asia/Seoul"
    start_condition = "EXPRESSION_MATCH_AND_DEPENDENCY_UPDATES_AVAILABLE"
  }

  distribution "ap-northeast-2" {
    share_with = var.allowed_principals
    kms_key_id = var.kms_key_id
  }
}
