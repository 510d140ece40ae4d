"""`python -m services.reviews`"""

import sys

from services.command import main
from services.reviews.service import SERVICE

sys.exit(main(SERVICE))
