# Completion of jail for bash. `jail complete` says what may come; its first line says of which kind it is.
_jail() {
    local IFS=$'\n' cur=${COMP_LINE:0:COMP_POINT} kind word rest
    COMPREPLY=()
    local words
    # The line's own words: COMP_WORDS is cut at = and : as well.
    IFS=$' \t\n' read -r -a words <<<"$cur"
    [[ $cur == *[[:space:]] ]] && words+=("")
    local last=${words[${#words[@]} - 1]}
    {
        read -r kind
        while IFS=$'\t' read -r word rest; do
            [[ $kind == program || $word == "$last"* ]] && COMPREPLY+=("$word")
        done
    } < <(command jail complete -- "${words[@]:1}" 2>/dev/null)
    case $kind in
    program)
        # The program's own words: its completion, where the bash-completion package can look it up.
        if declare -F _command_offset >/dev/null; then
            local at=0
            while ((at < COMP_CWORD)) && [[ ${COMP_WORDS[at]} != "${COMPREPLY[0]}" ]]; do ((at++)); done
            COMPREPLY=()
            _command_offset "$at"
        else
            compopt -o default 2>/dev/null
            COMPREPLY=()
        fi
        return
        ;;
    files)
        # Quoting is for names of files alone.
        [[ ${#COMPREPLY[@]} -eq 0 ]] && compopt -o filenames 2>/dev/null
        COMPREPLY=("${COMPREPLY[@]#--*=}" $(compgen -f -- "${last#--*=}"))
        return
        ;;
    commands)
        COMPREPLY+=($(compgen -c -- "$last"))
        ;;
    esac
    # What stands before the last = or : of the word is on the line already.
    if [[ $last == *[=:]* ]]; then
        local prefix=${last%"${last##*[=:]}"}
        COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
    fi
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
}
complete -F _jail jail
