"""``evolver completion``: the script that teaches a shell to complete evolver's command line.

When the user presses TAB, the script calls evolver with ``_EVOLVER_COMPLETE=SHELL_complete``, and click
answers by the class of that shell here. click's own scripts are not used: in bash they lose a URL or a name
with a sign that bash takes for the end of a word (``:``, ``=``, ``@``), and quote no name with a space.

An answer is a line for each thing that is offered: ``plain``, ``file`` or ``dir``, then the text, then what
explains it, with tabs between. ``file`` and ``dir`` have the shell offer its own.
"""

from __future__ import annotations

import os
import re

import click
from click.shell_completion import CompletionItem, ShellComplete, add_completion_class, split_arg_string

from evolver.cli import ASKED_BY_A_SHELL, main
from evolver.cli.options import examples


class _Shell(ShellComplete):
    """What the shells have in common; ``source_template`` is the script."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one at the cursor, and the part of that one before the cursor."""
        return os.environ["_EVOLVER_WORDS"].splitlines()[1:], os.environ["_EVOLVER_WORD"]

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        """Nothing that would steer the terminal is offered; ``--option=value`` is one word."""
        option, joined, _ = incomplete.partition("=")
        before = option + joined if joined and option.startswith("--") else ""
        return [
            CompletionItem(before + one.value, help=one.help) if one.type == "plain" else one
            for one in super().get_completions(args, incomplete)
            if one.value.isprintable()
        ]

    def format_completion(self, item: CompletionItem[str]) -> str:
        return "\t".join([item.type, item.value, " ".join((item.help or "").split())])


@add_completion_class
class Bash(_Shell):
    """Bash hands over the line as it was typed, and is given what it shall write there."""

    name = "bash"
    source_template = r"""
_evolver_completion() {
    local answer kind value
    COMPREPLY=()
    answer=$(_EVOLVER_LINE="${COMP_LINE:0:COMP_POINT}" _EVOLVER_WORD="$2" %(complete_var)s=bash_complete \
        "${1/#\~/$HOME}" 2>/dev/null </dev/null)
    while IFS=$'\t' read -r kind value _; do
        case $kind in
            plain) COMPREPLY+=("$value") ;;
            file) compopt -o default ;;
            dir) compopt -o dirnames ;;
        esac
    done <<< "$answer"
}
complete -o nosort -F _evolver_completion %(prog_name)s
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        before, word, _ = _at_the_end(os.environ["_EVOLVER_LINE"])
        return split_arg_string(before)[1:], _unquoted(word)

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Bash replaces its own idea of the word, which may begin within the real one."""
        if item.type != "plain":
            return item.type
        _, word, quote = _at_the_end(os.environ["_EVOLVER_LINE"])
        kept = _unquoted(word.removesuffix(os.environ["_EVOLVER_WORD"]))
        return f"plain\t{_quoted(item.value.removeprefix(kept), quote)}"


@add_completion_class
class Zsh(_Shell):
    """Zsh unquotes the words, and quotes what it is given."""

    name = "zsh"
    source_template = r"""#compdef %(prog_name)s

_evolver_completion() {
    local line
    local -a fields described plain
    for line in "${(@f)$(_EVOLVER_WORDS="${(F)${(@Q)words[1,CURRENT-1]}}" _EVOLVER_WORD="${(Q)PREFIX}" \
        %(complete_var)s=zsh_complete command %(prog_name)s 2>/dev/null </dev/null)}"; do
        fields=("${(@ps:\t:)line}")
        case $fields[1] in
            plain)
                if [[ -n $fields[3] ]]; then
                    described+=("${fields[2]//:/\\:}:$fields[3]")
                else
                    plain+=("$fields[2]")
                fi ;;
            file) compset -P '--*='; _files ;;
            dir) compset -P '--*='; _files -/ ;;
        esac
    done
    (( $#described )) && _describe -V evolver described
    (( $#plain )) && compadd -V evolver -a plain
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _evolver_completion "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }
    compdef _evolver_completion %(prog_name)s
fi
"""


@add_completion_class
class Fish(_Shell):
    """Fish unquotes the words before, and quotes what it is given."""

    name = "fish"
    source_template = r"""
function _evolver_completion
    set -l word (commandline -ct)
    set -l joined (string match -r -- '^--[^=]+=' $word)
    set -l answer (_EVOLVER_WORDS=(commandline -opc | string collect) _EVOLVER_WORD="$word" \
        %(complete_var)s=fish_complete command %(prog_name)s 2>/dev/null </dev/null)
    for line in $answer
        set -l fields (string split \t -- $line)
        switch $fields[1]
            case plain
                printf '%%s\t%%s\n' $fields[2] $fields[3]
            case file
                printf "$joined%%s\n" (__fish_complete_path $fields[2])
            case dir
                printf "$joined%%s\n" (__fish_complete_directories $fields[2])
        end
    end
end

complete --no-files --keep-order --command %(prog_name)s --arguments '(_evolver_completion)'
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        words, word = super().get_completion_args()
        return words, _unquoted(word)


# --- quotes ------------------------------------------------------------------------------------------


def _at_the_end(line: str) -> tuple[str, str, str]:
    """What is before the last word of a line, this word as it was typed, and its quote that is still open."""
    start, quote, escaped = 0, "", False
    for place, sign in enumerate(line):
        if escaped:
            escaped = False
        elif sign == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign.isspace():
            start = place + 1
    return line[:start], line[start:], quote


def _unquoted(word: str) -> str:
    """One word without its quotes, of which one may be open."""
    return "".join(split_arg_string(word))


def _quoted(text: str, quote: str) -> str:
    """A text as it is typed in bash, after a quote that is open."""
    if quote == "'":
        return text.replace("'", r"'\''")
    unsafe = r'["$`\\]' if quote else r"[^\w@%+=:,./-]"
    return re.sub(unsafe, r"\\\g<0>", text)


# --- the command -------------------------------------------------------------------------------------

SHELLS: dict[str, type[ShellComplete]] = {"bash": Bash, "zsh": Zsh, "fish": Fish}


@click.command(
    epilog=examples(
        'eval "$(evolver completion bash)"    # in ~/.bashrc',
        'eval "$(evolver completion zsh)"     # in ~/.zshrc, after compinit',
        "mkdir -p ~/.config/fish/completions",
        "evolver completion fish > ~/.config/fish/completions/evolver.fish",
    )
)
@click.argument("shell", type=click.Choice(list(SHELLS)))
def completion(shell: str) -> None:
    """Print the script by which a SHELL completes evolver's command line.

    It completes commands, options and their choices, and the names of experiments: those of the database
    of --db, where it stands before, or of EVOLVER_DATABASE_URL. A database that does not answer within
    two seconds offers none.
    """
    click.echo(SHELLS[shell](main, {}, "evolver", ASKED_BY_A_SHELL).source())
