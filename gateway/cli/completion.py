"""`banyan completion`: the script by which a shell completes verbs and options."""

from __future__ import annotations

from typing import Literal


def completion(shell: Literal["bash", "zsh", "fish"], /) -> int:
    """Prints the script that makes a shell complete banyan's verbs and options.

    Example: banyan completion bash > ~/.local/share/bash-completion/completions/banyan

    Parameters
    ----------
    shell
        Which one. zsh wants it as `_banyan` in a folder of its `fpath`, fish in `~/.config/fish/completions/banyan.fish`.
    """
    from gateway.cli.verbs import app  # it has this verb too

    print(app.generate_completion(prog_name="banyan", shell=shell))
    return 0
