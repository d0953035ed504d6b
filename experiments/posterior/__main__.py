"""The settings of 1989: see answer.py."""
from experiments.posterior import draws
from support import cli, runs


def main():
    parser = cli.parser(__doc__)
    parser.add_argument('--draws', type=cli.numbers, metavar='A-B', help='train these draws, if they are not in the file')
    runs.add_arguments(parser, 'results/posterior.csv')
    args = parser.parse_args()
    draws.load('usps')                  # ends here if it is not there
    draws.simulate(args.draws, args.out, workers=args.jobs, cluster=args.cluster)


if __name__ == '__main__':
    cli.run(main)
