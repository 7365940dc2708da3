# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that tell where hooks are scheduled."""

from __future__ import annotations


class ModuleDocFragment:
    """Used as C(p2fleet.hooks.store); the counterpart of C(STORE) in C(module_utils/options.py)."""

    DOCUMENTATION = r"""
options:
  store:
    description:
      - Where hooks are scheduled.
      - V(directory) is for one machine, a shared mount, or a git checkout; it needs no server.
      - V(consul) is for a fleet. It needs the Python library C(consul) on the host where the module runs,
        which is what both C(py-consul) and C(python-consul) install.
      - If it is not set, the value in the configuration file is used, and without one V(directory).
    type: str
    choices: [directory, consul]
  store_path:
    description:
      - The directory of O(store=directory). Scheduling creates it; wherever nothing is written to it, it is an error
        that it does not exist, since it may be mistyped, or not be mounted.
      - Whoever can write to it, or to a directory above it, becomes root on the hosts that install from it, so it is
        refused where that is anybody but root and the user who runs the module.
      - If it is not set, the value in the configuration file is used, and without one V(/data/hooks/store).
    type: path
  consul_url:
    description:
      - The address of Consul, for O(store=consul), such as V(https://consul.example.com:8501).
      - If it is not set, the environment variable E(CONSUL_HTTP_ADDR) is used where the module runs, with
        E(CONSUL_HTTP_SSL); if that is not set either, the value in the configuration file, and without one
        V(http://127.0.0.1:8500).
    type: str
  consul_token:
    description:
      - The ACL token. Installing needs C(read) for C(key_prefix "hooks/") and C(key_prefix "hooks-rollout/"), and
        scheduling needs C(write) for C(key_prefix "hooks/") and C(key_prefix "hooks-previous/"), and should have it for
        C(key "hooks-rollout/"), which spares Consul work. Where artifacts are uploaded, both need the same for
        C(key_prefix "hooks-artifacts/").
      - If neither it nor O(consul_token_file) is set, the environment variables E(CONSUL_HTTP_TOKEN) and
        E(CONSUL_HTTP_TOKEN_FILE) are used, the first one that is set, and then the O(consul_token_file) of the
        configuration file, which cannot have the token itself.
    type: str
  consul_token_file:
    description:
      - A file, on the host where the module runs, that holds the ACL token.
      - Where the module runs as root, it is refused if others could change it, or put another file in its place.
      - For where it is not set, see O(consul_token).
    type: path
  consul_ca_path:
    description:
      - The CA certificates that Consul's own certificate is checked against, a file or a directory.
      - Where the module runs as root, it is refused if others could change it, or put another one in its place.
      - If it is not set, the environment variable E(CONSUL_CACERT) is used, and then the value in the configuration
        file.
    type: path
  consul_client_cert:
    description:
      - Our certificate, for a Consul that demands one.
      - If it is not set, the environment variable E(CONSUL_CLIENT_CERT) is used, and then the value in the
        configuration file.
    type: path
  consul_client_key:
    description:
      - The private key of O(consul_client_cert), if it is not in the same file.
      - If it is not set, the environment variable E(CONSUL_CLIENT_KEY) is used, and then the value in the configuration
        file.
    type: path
  consul_validate_certs:
    description:
      - Whether to check Consul's certificate at all.
      - If it is not set, the environment variable E(CONSUL_HTTP_SSL_VERIFY) is used, then the value in the
        configuration file, and without one V(true).
    type: bool
  consul_datacenter:
    description:
      - The datacenter whose keys are meant.
      - If it is not set, the value in the configuration file is used, and without one the datacenter of the agent that
        is asked.
    type: str
  consul_namespace:
    description:
      - The namespace, in Consul Enterprise.
      - If it is not set, the environment variable E(CONSUL_NAMESPACE) is used, and then the value in the configuration
        file.
    type: str
  consul_timeout:
    description:
      - Seconds within which Consul must have answered each request.
      - If it is not set, the value in the configuration file is used, and without one V(10).
    type: float
"""
