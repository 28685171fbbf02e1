# bash completion for xfp, which itself knows what can follow: xfp '[complete]' WORD... CURRENT
_xfp() {
    local current=${COMP_WORDS[COMP_CWORD]} quote='' line value
    case $current in
        [\"\']*) quote=${current:0:1} current=${current:1} ;;
        *) current=${current//\\/} ;;
    esac
    COMPREPLY=()
    while IFS= read -r line; do
        value=${line%%$'\t'*}
        [[ $quote ]] || printf -v value %q "$value"     # within an open quote readline does what is needed
        COMPREPLY+=("$value")
    done < <("${COMP_WORDS[0]}" '[complete]' "${COMP_WORDS[@]:1:COMP_CWORD-1}" "$current" 2>/dev/null)
}
complete -F _xfp xfp
