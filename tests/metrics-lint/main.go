// Command metrics-lint reads from standard input, with Prometheus' own parsers, what Cordonhold offers to Prometheus.
//
// Its argument is what it reads: the format of a page of metrics, which is a media type with its version, or `rules`, a file of rules.
// A page is also linted as promtool does. promtool's linter reads only the text format, so the page is parsed here first, by Prometheus'
// parser for its format. A rule is checked as Prometheus does when it loads the file: its expression, labels and templates.
// It prints each problem on a line, and exits with 1 if there are any.
package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql/parser"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: metrics-lint FORMAT, like text/plain;version=0.0.4; or metrics-lint rules")
		os.Exit(2)
	}
	problems, err := check(os.Stdin, os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "metrics-lint:", err)
		os.Exit(2)
	}
	for _, problem := range problems {
		fmt.Println(problem)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
}

func check(input io.Reader, what string) ([]string, error) {
	text, err := io.ReadAll(input)
	if err != nil {
		return nil, err
	}
	if what == "rules" {
		return checkRules(text)
	}
	linted, err := lint(text, what)
	var problems []string
	for _, problem := range linted {
		problems = append(problems, problem.Metric+": "+problem.Text)
	}
	return problems, err
}

func checkRules(text []byte) ([]string, error) {
	expressions := parser.NewParser(parser.Options{})
	file, errs := rulefmt.Parse(text, false, model.UTF8Validation, expressions, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	var problems []string
	for _, err := range errs {
		problems = append(problems, err.Error())
	}
	if len(problems) > 0 {
		return problems, nil
	}
	for _, group := range file.Groups {
		if len(group.Rules) > 0 {
			return nil, nil
		}
	}
	return nil, errors.New("the file has no rule")
}

func lint(text []byte, format string) ([]promlint.Problem, error) {
	families, err := parse(text, format)
	if err != nil {
		return nil, err
	}
	if len(families) == 0 {
		return nil, errors.New("the page has no metric")
	}
	return promlint.NewWithMetricFamilies(families).Lint()
}

// parse returns the families as the linter expects them: the name of a counter ends with _total.
// In OpenMetrics the family's name lacks that suffix; in the text format it has it already.
func parse(text []byte, format string) ([]*dto.MetricFamily, error) {
	parser, err := textparse.New(text, format, labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		return nil, err
	}
	suffix := ""
	if strings.HasPrefix(format, "application/openmetrics-text") {
		suffix = "_total"
	}
	var families []*dto.MetricFamily
	// All lines of a family follow each other; the parser refuses anything else.
	current := func(name []byte) *dto.MetricFamily {
		if len(families) == 0 || families[len(families)-1].GetName() != string(name) {
			families = append(families, &dto.MetricFamily{Name: new(string(name))})
		}
		return families[len(families)-1]
	}
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		switch entry {
		case textparse.EntryHelp:
			name, help := parser.Help()
			current(name).Help = new(string(help))
		case textparse.EntryType:
			name, kind := parser.Type()
			if current(name).Type, err = typeOf(kind); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		case textparse.EntryUnit:
			name, unit := parser.Unit()
			current(name).Unit = new(string(unit))
		case textparse.EntrySeries:
			if len(families) == 0 {
				return nil, errors.New("a sample stands before any family")
			}
			var series labels.Labels
			parser.Labels(&series)
			if err := add(families[len(families)-1], series, suffix); err != nil {
				return nil, err
			}
		}
	}
	for _, family := range families {
		if family.GetType() == dto.MetricType_COUNTER {
			*family.Name += suffix
		}
	}
	return families, nil
}

func typeOf(kind model.MetricType) (*dto.MetricType, error) {
	switch kind {
	case model.MetricTypeCounter:
		return dto.MetricType_COUNTER.Enum(), nil
	// An info is a gauge that is always 1.
	case model.MetricTypeGauge, model.MetricTypeInfo:
		return dto.MetricType_GAUGE.Enum(), nil
	case model.MetricTypeHistogram:
		return dto.MetricType_HISTOGRAM.Enum(), nil
	default:
		return nil, fmt.Errorf("the type %q is not expected here", kind)
	}
}

// add adds one sample to its family, with its labels only: the linter looks at nothing else.
// A histogram counts as one sample, not one for each bucket.
func add(family *dto.MetricFamily, series labels.Labels, suffix string) error {
	name := series.Get(model.MetricNameLabel)
	switch family.GetType() {
	case dto.MetricType_COUNTER:
		if name != family.GetName()+suffix || !strings.HasSuffix(name, "_total") {
			return fmt.Errorf("the counter %s has the sample %s, which must end with _total", family.GetName(), name)
		}
	case dto.MetricType_HISTOGRAM:
		if name != family.GetName()+"_count" {
			return nil
		}
	}
	sample := &dto.Metric{}
	series.Range(func(label labels.Label) {
		if label.Name != model.MetricNameLabel {
			sample.Label = append(sample.Label, &dto.LabelPair{Name: new(label.Name), Value: new(label.Value)})
		}
	})
	family.Metric = append(family.Metric, sample)
	return nil
}
