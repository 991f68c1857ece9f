//! The reader by itself. That it agrees with Helm is shown by the workspace's `tests/`.

use serde_json::json;

use super::*;

fn rendered(text: &str, context: &Value) -> Result<String, TemplateError> {
    let templates = Templates::parse([("a.yaml", text)])?;
    let mut files = templates.render(context)?;
    Ok(files.remove(0).1)
}

#[test]
fn what_the_chart_uses_gives_what_go_gives() {
    let context =
        json!({"Values": {"a": "x", "n": 3, "none": "", "list": [1, "b"], "map": {"k": {"d": "e"}, "b": 2}}});
    for (text, expected) in [
        ("a: {{ .Values.a }}", "a: x"),
        (
            "a {{- if .Values.none }} b{{ else if eq .Values.a \"x\" }} c{{ else }} d{{ end -}} \n e",
            "a ce",
        ),
        (
            "{{ range $i, $v := .Values.list }}{{ $i }}={{ $v }};{{ end }}",
            "0=1;1=b;",
        ),
        ("{{ range .Values.list }}{{ . }}{{ $.Values.a }}{{ end }}", "1xbx"),
        ("{{ range $k, $v := .Values.map }}{{ $k }}{{ end }}", "bk"),
        (
            "{{ with .Values.map.k }}{{ .d }}{{ end }}{{ with .Values.none }}no{{ else }}yes{{ end }}",
            "eyes",
        ),
        (
            "{{ $x := \"a\" }}{{ if .Values.n }}{{ $x = \"b\" }}{{ end }}{{ $x }}",
            "b",
        ),
        (
            "{{ $x := 1 }}{{ if .Values.n }}{{ $x := 2 }}{{ end }}{{ $x }}",
            "1",
        ),
        (
            "{{ .Values.missing.too }}|{{ default 5 .Values.none | int }}",
            "|5",
        ),
        (
            "{{ printf \"%s-%d %q\" .Values.a .Values.n .Values.a | quote }}",
            r#""x-3 \"x\"""#,
        ),
        ("{{ (dict \"a\" (list 1 2)).a | toJson }}", "[1,2]"),
        (
            "{{ define \"t\" }}<{{ .v }}>{{ end }}{{ include \"t\" (dict \"v\" .Values.a) | nindent 2 }}",
            "\n  <x>",
        ),
        ("{{ toYaml .Values.map | nindent 1 }}", "\n b: 2\n k:\n   d: e"),
        ("{{/* }} */}}{{ \"}}\" }}", "}}"),
        (
            "{{ and 1 .Values.a }}{{ or .Values.none \"o\" }}{{ not .Values.none }}",
            "xotrue",
        ),
        (
            "{{ kebabcase \"rebootDelay\" }} {{ kindIs \"slice\" .Values.list }}",
            "reboot-delay true",
        ),
        (
            "{{ mergeOverwrite dict (dict \"a\" 1) (dict \"a\" 2 \"b\" 3) | toJson }}",
            r#"{"a":2,"b":3}"#,
        ),
    ] {
        assert_eq!(rendered(text, &context).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn a_template_that_is_not_understood_is_named_with_its_line() {
    for (text, problem) in [
        (
            "a\n{{ upper .a }}",
            "a.yaml:2: upper with 1 arguments like these is not known here",
        ),
        ("{{ if .a }}", "a.yaml:1: this if has no end"),
        ("\n\n{{ end }}", "a.yaml:3: ends a block that has not begun"),
        ("{{ .a", "a.yaml:1: an action has no end"),
        ("{{ \"a }}", "a.yaml:1: an action has no end"),
        ("{{ $x }}", "a.yaml:1: $x is not set"),
        ("{{ include \"t\" . }}", "a.yaml:1: no template is named t"),
        (
            "{{ define \"t\" }}{{ include \"t\" . }}{{ end }}{{ include \"t\" . }}",
            "a.yaml:1: nested over 32 deep",
        ),
        (
            "{{ range 5 }}{{ end }}",
            "a.yaml:1: range takes a list or an object",
        ),
        (
            "{{ .a | 5 }}",
            "a.yaml:1: only a function can stand behind a pipe",
        ),
    ] {
        let said = rendered(text, &json!({})).map_err(|error| error.to_string());
        assert_eq!(said, Err(problem.to_owned()), "{text}");
    }
}

#[test]
fn what_a_template_refuses_is_said_in_its_own_words() {
    for text in ["{{ fail \"set x\" }}", "{{ required \"set x\" .x }}"] {
        assert_eq!(
            rendered(text, &json!({})),
            Err(TemplateError::Refused("set x".to_owned()))
        );
    }
}
