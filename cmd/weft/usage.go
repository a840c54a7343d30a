package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// arguments refuses what does not fit the arguments that use names: one in brackets may
// be left out, and a last one that ends in ... be given many times.
func arguments(use string) cobra.PositionalArgs {
	names := strings.Fields(use)[1:]
	return func(c *cobra.Command, args []string) error {
		missing, wrong := names[min(len(args), len(names)):], ""
		switch {
		case len(args) > len(names) && !strings.HasSuffix(use, "..."):
			wrong = fmt.Sprintf(" takes no argument %.80q", args[len(names)])
		case len(missing) == 1 && !strings.HasPrefix(missing[0], "["):
			wrong = ": " + strings.TrimSuffix(missing[0], "...") + " is missing"
		case len(missing) > 1:
			wrong = ": " + strings.Join(missing, " and ") + " are missing"
		default:
			return nil
		}
		return usagef("%s%s; write %s, or see %s --help", c.CommandPath(), wrong, c.UseLine(), c.CommandPath())
	}
}

// values are what flags take, by their types. One of any other takes every text.
var values = map[string]string{
	"bool":           "true or false",
	"duration":       "a time such as 90s, 15m or 24h",
	"int32":          "a whole number from -2147483648 to 2147483647",
	"int64":          "a whole number of at most 9223372036854775807",
	"uint32":         "a whole number from 0 to 4294967295",
	"uint64":         "a whole number from 0 to 18446744073709551615",
	"stringSlice":    "words parted by commas; one that has a quote needs quotes around it, and each of its own twice",
	"stringToInt64":  "NAME=NUMBER, such as memoryMiB=256",
	"stringToString": "NAME=TEXT, such as region=eu",
}

// flagFault says of a flag that cannot be read which it is, what came and what it takes.
func flagFault(c *cobra.Command, err error) error {
	var value *pflag.InvalidValueError
	var none *pflag.ValueRequiredError
	var unknown *pflag.NotExistError
	var syntax *pflag.InvalidSyntaxError
	switch {
	case errors.As(err, &value):
		return usagef("--%s %.80q; write %s", value.GetFlag().Name, value.GetValue(), values[value.GetFlag().Value.Type()])
	case errors.As(err, &none):
		if takes := values[none.GetFlag().Value.Type()]; takes != "" {
			return usagef("--%s has no value; write %s", none.GetFlag().Name, takes)
		}
		return usagef("--%s has no value; see %s --help", none.GetFlag().Name, c.CommandPath())
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		return usagef("%s has no flag -%.1s; see %s --help", c.CommandPath(), unknown.GetSpecifiedName(), c.CommandPath())
	case errors.As(err, &unknown):
		return usagef("%s has no flag --%.80s; see %s --help", c.CommandPath(), unknown.GetSpecifiedName(), c.CommandPath())
	case errors.As(err, &syntax):
		return usagef("%.80s is no flag; write --NAME or --NAME=VALUE, and see %s --help", syntax.GetSpecifiedFlag(), c.CommandPath())
	}
	return usagef("%w; see %s --help", err, c.CommandPath())
}
