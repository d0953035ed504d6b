"""
Every claim of the paper, measured.

    python -m experiments.claims            # all
    python -m experiments.claims 5 6        # some, by number

Besides its table of results the paper makes 14 claims in words. Each is a class
in experiments/claims with its words; the experiment, where there can be one;
and the rule for the verdict, written down before the runs. A claim holds, holds
in part, does not hold, or cannot be told.

Each run is a row of a CSV file, so that the command may be interrupted and
repeated. Nothing is chosen on test digits: where a claim compares two ways of
learning, each has the rate of a grid that gives the lowest training MSE. A
difference counts if it is more than two standard errors.
"""
import os
import textwrap

from experiments import claims
from experiments.claims import CLAIMS, KEY, VALUES, WORDS
from experiments.claims.claim import OPEN
from support import cli, files, runs


def main():
    parser = cli.parser(__doc__, epilog='claims:\n' + '\n'.join(
        textwrap.fill(f'{number:>4}  {claim.words}', 79, subsequent_indent='      ')
        for number, claim in CLAIMS.items()))
    parser.add_argument('claims', nargs='*', type=cli.checked(int, 1, max(CLAIMS), 'the number of a claim'),
                        metavar='N', help='claims (default: all)')
    parser.add_argument('--dataset', type=files.dataset, default='usps', metavar='D', help='default: usps')
    parser.add_argument('--seeds', type=cli.numbers, metavar='A-B', help="default: the claim's, 0-9 or 0-4")
    runs.add_arguments(parser, os.path.join('out', 'claims.csv'))
    args = parser.parse_args()
    numbers = args.claims or list(CLAIMS)
    claims.load(args.dataset)           # ends here if it is not there
    where = {'workers': args.jobs, 'cluster': args.cluster}
    rows, jobs, before = [], [], None
    while jobs != before:               # the best rate, and what is run at it, is known once its grid has run
        rows, before = runs.run_all(claims.one_run, jobs, args.out, KEY, VALUES, WORDS, threads=True, **where), jobs
        jobs = [job for number in numbers if CLAIMS[number].threads
                for job in claims.jobs_of(number, rows, args.dataset, args.seeds)]
    alone = [job for number in numbers if not CLAIMS[number].threads
             for job in claims.jobs_of(number, rows, args.dataset, args.seeds)]
    if alone:                           # timed on this machine, one at a time
        rows += runs.run_all(claims.one_run, alone, args.out, KEY, VALUES, WORDS, threads=True, workers=1)
    judged = claims.judgments(rows, numbers)
    for claim in judged if args.seeds and len(args.seeds) < 2 else ():
        if claim.settings and claim.threads:
            judged[claim] = 'one seed has no standard error: a verdict takes two or more', OPEN
    print(claims.shown(judged))


if __name__ == '__main__':
    cli.run(main)
