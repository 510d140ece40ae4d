"""`python -m services.recommendations`"""

import sys

from services.command import main
from services.recommendations.service import SERVICE

sys.exit(main(SERVICE))
