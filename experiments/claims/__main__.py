"""python -m experiments.claims"""
import os
import textwrap

from experiments import claims
from experiments.claims import CLAIMS, KEY, VALUES, WORDS
from experiments.claims.claim import TUNING
from support import cli, files, runs


def main():
    parser = cli.parser(claims.__doc__, epilog='claims:\n' + '\n'.join(
        textwrap.fill(f'{number:>4}  {claim.words}', 79, subsequent_indent='      ')
        for number, claim in CLAIMS.items()))
    parser.add_argument('claims', nargs='*', type=cli.checked(int, 1, max(CLAIMS), 'the number of a claim'),
                        metavar='N', help='claims (default: all)')
    parser.add_argument('--dataset', type=files.dataset, default='usps', metavar='D', help='default: usps')
    parser.add_argument('--seeds', type=cli.numbers, metavar='A-B', help='two or more, from 2 on; 0 and 1 choose '
                        'rates (default: 5 to 60 of each claim, from 100 times its number on)')
    runs.add_arguments(parser, os.path.join('out', 'claims.csv'))
    args = parser.parse_args()
    if args.seeds and (len(args.seeds) < 2 or min(args.seeds) < TUNING):
        parser.error('--seeds: give two or more, from 2 on')
    numbers = args.claims or list(CLAIMS)
    files.load_digits(args.dataset)     # ends here if it is not there
    rows = []
    for alone, where in (False, {'workers': args.jobs, 'cluster': args.cluster}), (True, {'workers': 1}):
        jobs, before = [], None
        while jobs != before:           # the best rate, and what is run at it, is known once its grid has run
            before = jobs
            found = runs.run_all(claims.one_run, jobs, args.out, KEY, VALUES, WORDS, threads=True, **where)
            jobs = [job for number in numbers if CLAIMS[number].alone == alone
                    for job in claims.jobs_of(number, found, args.dataset, args.seeds)]
        rows += found
    print(claims.shown(claims.judgments(rows, numbers)))


if __name__ == '__main__':
    cli.run(main)
